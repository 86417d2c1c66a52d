ping -c 2 ff02::1%bat0
