package agree.sets

import rego.v1

granted contains role if some role in input.hopgate.user.roles

granted contains role if {
	some held in input.hopgate.user.roles
	some role in data.implies[held]
}

needed := {"read"} if input.attributes.request.http.method == "GET"

needed := {"read", "write"} if input.attributes.request.http.method == "PUT"

allow if {
	count(needed) > 0
	needed & granted == needed
}
