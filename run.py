"""Pretrain, fine-tune and evaluate; `python run.py --help` lists the flags.

Each --method has flags of its own: `python run.py --method=NAME --help` lists them.
"""

from simclr_tf import start

if __name__ == "__main__":
    start.pretrain()
