"""The first signal asks, the second one acts; outside the block nothing is changed."""

import os
import signal

import pytest

from videopoet_jax.training.signals import STOPPED, Stopped, StopSignal


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_first_signal_asks_to_stop_and_gives_the_handlers_back(number):
    before = signal.getsignal(number)
    with StopSignal() as stop:
        assert not stop.requested()
        os.kill(os.getpid(), number)
        assert stop.requested()
        assert signal.getsignal(number) == before
    assert signal.getsignal(number) == before


def test_without_a_signal_the_handlers_are_given_back():
    before = signal.getsignal(signal.SIGTERM)
    with StopSignal():
        assert signal.getsignal(signal.SIGTERM) != before
    assert signal.getsignal(signal.SIGTERM) == before


def test_stopped_exits_with_its_own_code():
    assert Stopped(7).step == 7 and Stopped(7).code == STOPPED == 75
