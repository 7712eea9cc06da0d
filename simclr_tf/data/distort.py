"""What happens to a view after its crop: flip, jitter, greyscale, blur, compiled by XLA.

Everything random about a view is drawn beforehand as a row of uniform numbers. From its
row follows the list of operations that the view undergoes, and a loop applies one after
the other. So an operation is compiled once and costs time only in views that drew it; what a
recipe gives no chance is not compiled at all.

A new operation needs a place in `FURTHER` of `recipe`, its probability in a `View`, and a line in
`PROBABILITIES`, `operations` and `plan` of `studied`. A new strong operation needs none of these,
see `rand_augment`.
"""

import functools
from collections.abc import Callable, Sequence

import tensorflow as tf

from simclr_tf.data import augment, strong_plan, studied
from simclr_tf.data.recipe import Recipe, View

BLUR_RADII = (3, 6, 9)

# The columns of the numbers that a view draws.
FLIP, JITTER, GRAYSCALE, BLUR, SIGMA = range(5)
ORDER = slice(5, 9)
FACTORS = slice(9, 13)
NUM_DRAWS = 13
# The columns of the further numbers, which SimCLR's views do without. Those of strong operations
# follow, and those of `studied` are the last.
SOLARIZE = 0
NUM_FURTHER = 1
# Each is folded into the seed, so that the numbers above stay what they are.
_FURTHER_STREAM, _STRONG_STREAM, _STUDIED_STREAM = 1, 2, 3


def draw(seed: tf.Tensor, number_of_views: int) -> tf.Tensor:
    """Draw what every view needs, uniform in [0, 1): float32 (number_of_views, NUM_DRAWS).

    Args:
      seed: int tensor (2,).
      number_of_views: that the numbers are for.
    """
    return tf.random.stateless_uniform((number_of_views, NUM_DRAWS), seed)


def draw_further(
    seed: tf.Tensor, number_of_views: int, strong_draws: int = 0, with_studied: bool = False
) -> tf.Tensor:
    """Draw what some views need besides.

    Args:
      seed: int tensor (2,), the one that `draw` gets.
      number_of_views: that the numbers are for.
      strong_draws: the most strong operations that a view draws.
      with_studied: whether a view may undergo what `studied` plans.

    Returns:
      float32 (number_of_views, NUM_FURTHER + strong_draws * strong_plan.NUM_DRAWS +
      studied.NUM_DRAWS or less), uniform in [0, 1).
    """

    def uniform(stream, columns):
        folded = tf.random.experimental.stateless_fold_in(seed, stream)
        return tf.random.stateless_uniform((number_of_views, columns), folded)

    found = [uniform(_FURTHER_STREAM, NUM_FURTHER)]
    if strong_draws:
        found.append(uniform(_STRONG_STREAM, strong_draws * strong_plan.NUM_DRAWS))
    if with_studied:
        found.append(uniform(_STUDIED_STREAM, studied.NUM_DRAWS))
    return tf.concat(found, axis=1)


def needs_further(recipe: Recipe) -> bool:
    """Whether a view may undergo something that is drawn by `draw_further`."""
    solarized_or_strong = any(view.solarize_probability or view.strong for view in recipe)
    return solarized_or_strong or studied.any_in(recipe)


def changes_anything(view: View) -> bool:
    """Whether a view may undergo something after its crop."""
    return view.area is not None and bool(_operations(view))


def distort(
    crops: Sequence[tf.Tensor],
    draws: tf.Tensor,
    further: tf.Tensor,
    recipe: Recipe,
    white: float = 255.0,
) -> tuple[tf.Tensor, ...]:
    """Make views of crops.

    Args:
      crops: float32 (images, size, size, 3), the first view's of all images, then the second's, ...
      draws: float32 (images, views, NUM_DRAWS), see `draw`.
      further: float32 (images, views, NUM_FURTHER or more), see `draw_further`.
      recipe: what each view undergoes.
      white: the value of white in `crops`.

    Returns:
      As many tensors, float32 (images, size, size, 3) in [0, 1].
    """
    if not any(map(changes_anything, recipe)):
        return tuple(augment.clip(crop * (1 / white)) for crop in crops)
    return _program(recipe, white)(tuple(crops), draws, further)


@functools.cache
def _program(recipe: Recipe, white: float) -> Callable:
    """The compiled program of a recipe, a function of crops, draws and further draws."""

    @functools.partial(tf.function, jit_compile=True, autograph=False)
    def program(crops, draws, further):
        inputs = (crops, tf.unstack(draws, axis=1), tf.unstack(further, axis=1))
        found: list[tf.Tensor] = [None] * len(recipe)
        for places in _groups(recipe):
            together = [tf.concat([part[i] for i in places], axis=0) for part in inputs]
            views = _views(recipe[places[0]], *together, white)
            for place, view in zip(places, tf.split(views, len(places)), strict=True):
                found[place] = view
        return tuple(found)

    return program


def _groups(recipe):
    """Places of views that are compiled as one: equal ones, where they are more than two.

    With two, copying them together costs more than is gained by compiling less.
    """
    places: dict[View, list[int]] = {}
    for i, view in enumerate(recipe):
        places.setdefault(view, []).append(i)
    return [
        group
        for equal in places.values()
        for group in ([equal] if len(equal) > 2 else [[i] for i in equal])
    ]


def _views(view, crops, draws, further, white):
    """One view of several images."""
    if not changes_anything(view):
        return augment.clip(crops * (1 / white))
    operations = list(_operations(view).values())

    def finished(crop_and_plan):
        crop, steps, count, numbers, *arguments = crop_and_plan

        def apply_next(done, planes):
            given = (planes, numbers[done], *arguments)
            branches = [functools.partial(operate, *given) for operate in operations]
            return done + 1, tf.switch_case(steps[done], branches)

        def changed():
            planes = augment.to_planes(crop) * (1 / white)
            if view.clip_crop:
                planes = augment.clip(planes)
            _, planes = tf.while_loop(lambda done, _: done < count, apply_next, (0, planes))
            return augment.from_planes(augment.clip(planes))

        # XLA divides loops among threads, which costs more than it gains with loops this short,
        # but not inside a conditional.
        return tf.cond(count > 0, changed, lambda: augment.clip(crop * (1 / white)))

    return _of_each(finished, crops, *_plan(view, draws, further))


def jitter_factors(draws: tf.Tensor, view: View) -> tf.Tensor:
    """Scale draws to factors, each uniform about the value that changes nothing.

    Args:
      draws: float32 (..., NUM_DRAWS), see `draw`.
      view: says how far they may be from that value.

    Returns:
      float32 (..., 4), of brightness, contrast, saturation and hue.
    """
    unchanged = (1.0 if view.brightness == "multiply" else 0.0, 1.0, 1.0, 0.0)
    return unchanged + tf.constant(view.jitter) * (2.0 * draws[..., FACTORS] - 1.0)


def jitter_order(draws: tf.Tensor) -> tf.Tensor:
    """Which of brightness, contrast, saturation and hue come first, second, ...: int32 (..., 4).

    Every permutation is as likely as any other.

    Args:
      draws: float32 (..., NUM_DRAWS), see `draw`.
    """
    return tf.argsort(draws[..., ORDER], axis=-1)


def blur_sigma(draws: tf.Tensor, view: View) -> tf.Tensor:
    """The standard deviations of blurs, uniform in the range of the view: float32 (...,)."""
    lowest, highest = view.blur_sigmas
    return lowest + (highest - lowest) * draws[..., SIGMA]


def blur_radii(view: View) -> tuple[int, ...]:
    """The radii of kernels that blurs are computed with, the smallest that serves each sigma.

    A radius r serves up to sigma (r + 1) / 5: what lies outside of it weighs less than
    4e-6 of the middle. The last one serves all other sigmas.
    """
    radii = {min(view.radius, r) for r in BLUR_RADII}
    if 5 * view.blur_sigmas[1] > max(BLUR_RADII) + 1:
        radii.add(view.radius)
    return tuple(sorted(radii))


def _of_each(view, crops, *plan):
    """The views of crops (n, size, size, 3); a loop, unless there is one alone."""
    if crops.shape[0] == 1:
        return view([tensor[0] for tensor in (crops, *plan)])[tf.newaxis]
    return tf.map_fn(view, (crops, *plan), fn_output_signature=tf.TensorSpec(crops.shape[1:]))


def _operations(view):
    """What may be done to planes, each a function of planes, own numbers, factors, taps, by name.

    The two directions of a blur are two operations, since the second wants the first's whole
    result at hand.
    """

    def jitter(index, operation):
        return lambda planes, _, factors, __: augment.clip(operation(planes, factors[index]))

    def blur(direction, radius):
        def operate(planes, _, __, taps):
            outside = taps.shape[0] // 2 - radius
            taps = taps[outside : taps.shape[0] - outside]
            return direction(planes, taps, view.blur_border)

        return operate

    def with_own_numbers(operation):
        return lambda planes, numbers, *_: operation(planes, numbers)

    found = {}
    if view.flip_probability:
        found["flip"] = lambda planes, *_: tf.reverse(planes, axis=[2])
    if view.jitter_probability:
        blend = view.colors == "blend"
        jitters = (
            functools.partial(augment.adjust_brightness, mode=view.brightness),
            augment.blend_contrast if blend else augment.adjust_contrast,
            augment.blend_saturation if blend else augment.adjust_saturation,
            augment.adjust_hue,
        )
        found |= {f"jitter {i}": jitter(i, operation) for i, operation in enumerate(jitters)}
    if view.grayscale_probability:
        found["grayscale"] = lambda planes, *_: augment.to_grayscale(planes)
    if view.blur_probability:
        found["clip"] = lambda planes, *_: augment.clip(planes)
        for radius in blur_radii(view):
            found[f"blur down {radius}"] = blur(augment.blur_down, radius)
            found[f"blur across {radius}"] = blur(augment.blur_across, radius)
    if view.solarize_probability:
        found["solarize"] = lambda planes, *_: augment.solarize(planes)
    for name, operation in studied.operations(view).items():
        found[name] = with_own_numbers(operation)
    for name, operation in strong_plan.operations(view.strong).items() if view.strong else ():
        found[f"strong {name}"] = with_own_numbers(operation)
    return found


def _plan(view, draws, further):
    """What each of n views undergoes, from draws (n, NUM_DRAWS) and (n, NUM_FURTHER or more).

    Returns:
      The places of its operations in `_operations`, in their order, int32 (n, operations), the
      number of them that were drawn (n,), each one's own numbers (n, operations, NUM_ARGUMENTS of
      `strong_plan`, or 0 where none has any), the factors of its jitter (n, 4), and the taps of its
      blur.
    """
    sigma, radii = blur_sigma(draws, view), blur_radii(view)
    places = {name: i for i, name in enumerate(_operations(view))}
    with_numbers = view.strong or studied.any_in((view,))
    none = tf.zeros((sigma.shape[0], strong_plan.NUM_ARGUMENTS if with_numbers else 0))
    planned = []

    def add(drawn, probability, *steps, numbers=none):
        if probability:
            planned.extend(
                (drawn < probability, step + tf.zeros_like(wider), numbers) for step in steps
            )

    wider = sum(tf.cast(5.0 * sigma > r + 1, tf.int32) for r in radii[:-1])
    wider *= tf.ones(sigma.shape, tf.int32)
    add(draws[:, FLIP], view.flip_probability, places.get("flip"))
    for stage in view.stages:
        if stage == "jitter":
            order = tf.unstack(jitter_order(draws), axis=1)
            steps = [places.get("jitter 0", 0) + i for i in order]
            add(draws[:, JITTER], view.jitter_probability, *steps)
        elif stage == "grayscale":
            add(draws[:, GRAYSCALE], view.grayscale_probability, places.get("grayscale"))
        elif stage == "blur":
            down = places.get(f"blur down {radii[0]}", 0) + 2 * wider
            steps = (places.get("clip"), down, down + 1)
            add(draws[:, BLUR], view.blur_probability, *steps)
        elif stage == "solarize":
            add(further[:, SOLARIZE], view.solarize_probability, places.get("solarize"))
        elif stage in studied.PROBABILITIES:
            if probability := studied.probability(stage, view):
                drawn, step, numbers = studied.plan(stage, view, further[:, -studied.NUM_DRAWS :])
                add(drawn, probability, places[stage] + step, numbers=numbers)
        elif view.strong:
            uniform, known = further[:, NUM_FURTHER:], strong_plan.operations(view.strong)
            applied, steps, numbers = strong_plan.plan(view.strong, uniform, view.size)
            steps += len(places) - len(known)  # the last ones are theirs
            columns = (tf.unstack(column, axis=1) for column in (applied, steps, numbers))
            planned.extend(zip(*columns, strict=True))
    drawn, steps, numbers = (tf.stack(column, axis=1) for column in zip(*planned, strict=True))
    drawn_first = tf.argsort(tf.cast(~drawn, tf.int32), axis=1, stable=True)
    return (
        tf.gather(steps, drawn_first, axis=1, batch_dims=1),
        tf.reduce_sum(tf.cast(drawn, tf.int32), axis=1),
        tf.gather(numbers, drawn_first, axis=1, batch_dims=1),
        jitter_factors(draws, view),
        augment.blur_taps(radii[-1], sigma),
    )
