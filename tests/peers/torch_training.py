"""Train two PyTorch networks as they are and with numbadl's parts: ``python -m tests.peers.torch_training``.

Prints each one's accuracy on the built-in digits and the time of a step at batch 256, measured in turns. What is exchanged::

    net = ours.replace(net)
    loss = ours.nn.CrossEntropyLoss()
    optimizer = ours.optim.AdamW(net.parameters(), lr=2e-3)
"""

import argparse
import copy
import statistics
import time

import torch
from torch import nn

import numbadl as nd
import numbadl.interop.torch as ours

BATCH = 256


def mlp():
    """64-512-512-10, with batch norm, gelu and dropout."""
    sizes = [(64, 512), (512, 512)]
    layers = [layer for a, b in sizes for layer in (nn.Linear(a, b), nn.BatchNorm1d(b), nn.GELU(), nn.Dropout(0.2))]
    return nn.Sequential(*layers, nn.Linear(512, 10))


def convolutional():
    """Two convolutions of 3 by 3 with batch norm and silu; pooling, layer norm, dropout and a linear layer."""
    return nn.Sequential(
        nn.Unflatten(1, (1, 8, 8)), nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.SiLU(),
        nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32), nn.SiLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.LayerNorm(512), nn.Dropout(0.2), nn.Linear(512, 10),
    )  # fmt: skip


NETWORKS = {"mlp": mlp, "convolutional": convolutional}


class Training:
    """A network with its loss and optimiser: torch's, or numbadl's."""

    def __init__(self, net, replaced):
        library = nn if not replaced else ours.nn
        self.net = ours.replace(net) if replaced else net
        self.loss = library.CrossEntropyLoss()
        self.optimizer = (ours.optim if replaced else torch.optim).AdamW(net.parameters(), lr=2e-3)

    def step(self, x, y):
        """One step on a batch."""
        self.optimizer.zero_grad()
        self.loss(self.net(x), y).backward()
        self.optimizer.step()

    def epochs(self, x, y, count, seed):
        """Train on the rows of x in a shuffled order."""
        self.net.train()
        order = torch.Generator().manual_seed(seed)
        for _ in range(count):
            for rows in torch.randperm(len(x), generator=order).split(BATCH):
                self.step(x[rows], y[rows])

    @torch.no_grad()
    def accuracy(self, x, y):
        """The share of rows whose label is found."""
        self.net.eval()
        return (self.net(x).argmax(1) == y).float().mean().item()


def both(network, seed):
    """Two trainings that start with the same weights: torch's, and numbadl's."""
    torch.manual_seed(seed)
    net = NETWORKS[network]()
    return Training(copy.deepcopy(net), replaced=False), Training(net, replaced=True)


def accuracies(network, epochs=15, seed=0):
    """Accuracy on the test digits after training, of torch's and of numbadl's."""
    x, y, x_test, y_test = map(torch.from_numpy, nd.data.load_digits())
    found = []
    for training in both(network, seed):
        training.epochs(x, y, epochs, seed)
        found.append(training.accuracy(x_test, y_test))
    return found


def times(network, rounds=15, steps=10):
    """Milliseconds of one step, of torch's and of numbadl's: the median of rounds that take turns."""
    x, y = (torch.from_numpy(a)[:BATCH] for a in nd.data.load_digits()[:2])
    trainings, found = both(network, 0), ([], [])
    for training in trainings:
        for _ in range(steps):
            training.step(x, y)
    for _ in range(rounds):
        for training, of_training in zip(trainings, found, strict=True):
            training.step(x, y)  # the first one finds the other's data in the cache
            start = time.perf_counter()
            for _ in range(steps):
                training.step(x, y)
            of_training.append((time.perf_counter() - start) / steps * 1e3)
    return [statistics.median(each) for each in found]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--rounds", type=int, default=15)
    given = parser.parse_args()
    print(f"batch {BATCH}, torch {torch.__version__} eager, {torch.get_num_threads()} threads")
    for network in NETWORKS:
        theirs, mine = times(network, given.rounds)
        print(f"{network}: {theirs:.2f} ms a step with torch's parts, {mine:.2f} with numbadl's: {theirs / mine:.2f}x")
        if given.epochs:
            theirs, mine = accuracies(network, given.epochs)
            print(f"{network}: {theirs:.3f} of the test digits with torch's parts, {mine:.3f} with numbadl's")


if __name__ == "__main__":
    main()
