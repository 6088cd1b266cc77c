"""On a machine with several GPUs the candidate runs on the device that its judge was given, and sees no other."""

from engine.scorer.cuda.driver import same_device


def test_the_worker_is_told_its_judges_device_and_nothing_else_of_its_environment():
    given = {"CUDA_VISIBLE_DEVICES": "3", "CUDA_DEVICE_ORDER": "PCI_BUS_ID", "HOME": "/root", "LD_PRELOAD": "x.so"}
    assert same_device(given) == {"CUDA_VISIBLE_DEVICES": "3", "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
    assert same_device({"HOME": "/root"}) == {}
