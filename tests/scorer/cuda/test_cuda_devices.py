"""On a machine with several GPUs the candidate runs on the device that its judge was given, and sees no other."""

import warnings

with warnings.catch_warnings():  # torch warns that numpy is absent; nothing here uses it
    warnings.simplefilter("ignore")
    from engine.scorer.cuda.worker import same_device


def test_the_worker_is_told_its_judges_device_and_nothing_else_of_its_environment():
    given = {"CUDA_VISIBLE_DEVICES": "3", "CUDA_DEVICE_ORDER": "PCI_BUS_ID", "HOME": "/root", "LD_PRELOAD": "x.so"}
    assert same_device(given) == {"CUDA_VISIBLE_DEVICES": "3", "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
    assert same_device({"HOME": "/root"}) == {}
