package agree.functions

import rego.v1

is_owner(user, path) if path == ["customers", user, "orders"]

is_owner(user, path) if {
	path[0] == "admin"
	user in data.admins
}

level(user) := 2 if user in data.admins

else := 1 if user != ""

allow if {
	is_owner(input.hopgate.user.sub, input.parsed_path)
	level(input.hopgate.user.sub) >= 1
}
