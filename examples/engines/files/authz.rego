package envoy.authz

import rego.v1

# The user is verified already: no token is taken apart here.
allow if {
	input.attributes.request.http.method == "GET"
	input.parsed_path[0] == "orders"
	input.hopgate.user.sub in data.readers
}
