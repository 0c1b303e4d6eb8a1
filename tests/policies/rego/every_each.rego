package agree.every_each

import rego.v1

allow := true if {
	every role in input.hopgate.user.roles { role in {"reader", "writer", "read"} }
	count(input.hopgate.user.roles) > 0
}

else := false if input.hopgate.user
