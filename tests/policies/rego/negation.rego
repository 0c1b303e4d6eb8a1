package agree.negation

import rego.v1

blocked if input.hopgate.user.sub in data.blocked

allow if {
	not blocked
	not input.parsed_query.debug
	input.attributes.request.http.method != "DELETE"
}
