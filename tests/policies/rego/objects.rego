package agree.objects

import rego.v1

allow := {"allowed": true, "headers": {"x-by": input.hopgate.user.sub}} if input.hopgate.user.sub == "alice"

allow := {"allowed": false, "http_status": 302} if input.hopgate.user.sub == "bob"

allow := "neither" if input.hopgate.user.sub == "carol"
