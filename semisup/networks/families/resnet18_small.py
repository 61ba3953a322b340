"""ResNet-18 for small images."""

from torch import nn

from semisup.networks.family import Family, UnknownNetworkError, Wanted


def resnet18_small(channels: int, num_classes: int) -> nn.Module:
    """ResNet-18 that keeps small images' resolution at the start: a 3×3 convolution of stride 1, and no max pooling.

    Source: He et al. 2016, with the first layer of its section 4.2 (CIFAR-10).
    """
    import torchvision

    backbone: nn.Module = torchvision.models.resnet18(weights=None, num_classes=num_classes)
    convolution = nn.Conv2d(channels, 64, kernel_size=3, stride=1, padding=1, bias=False)
    nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")  # as torchvision's others
    backbone.conv1, backbone.maxpool = convolution, nn.Identity()
    return backbone


def _build(wanted: Wanted) -> nn.Module:
    if wanted.name != "resnet18_small":
        raise UnknownNetworkError
    return resnet18_small(wanted.image_shape[0], wanted.num_classes)


FAMILY = Family(build=_build, names=lambda: ["resnet18_small"], suggested=True)
