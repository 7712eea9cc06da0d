"""The meaning of --variable_schema: which variables of a checkpoint are loaded."""

import re

from simclr_tf.errors import UserError


def compile_schema(variable_schema: str | None) -> re.Pattern:
    """The compiled `--variable_schema`; a name is loaded if its `match` succeeds.

    The names it sees are TF1's (`base_model/...`, `head_contrastive/...`,
    `head_supervised/...`), whatever the format of the file, so that a schema means the
    same for all of them. One that begins with `?` is put into parentheses: the original's
    default, `?!global_step`, is no regular expression without them.

    Raises:
      UserError: it is not a regular expression.
    """
    pattern = variable_schema or ""
    try:
        return re.compile(f"({pattern})" if pattern.startswith("?") else pattern)
    except re.error as error:
        raise UserError(
            "variable_schema is a regular expression, such as (?!global_step|head). "
            f"Received: {variable_schema} ({error})."
        ) from error
