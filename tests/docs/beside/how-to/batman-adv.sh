# An address is of use once nobody objected to it.
until ip -6 address show dev bat0 scope link -tentative | grep --quiet inet6; do sleep 0.1; done
ping -c 2 ff02::1%bat0
