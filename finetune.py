"""Fine-tune by a protocol of the papers; `python finetune.py --help` lists the flags.

`--protocol=transfer` is a sweep over data sets with flags of its own, which
`python finetune.py --protocol=transfer --help` lists.
"""

from simclr_tf import start

if __name__ == "__main__":
    start.finetune()
