package agree.addresses

allow if net.cidr_contains("10.0.0.0/8", input.attributes.source.address.socketAddress.address)

allow := false if not input.attributes.source.address.socketAddress.address
