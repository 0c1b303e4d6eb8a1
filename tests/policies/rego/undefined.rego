package agree.undefined

allow if {
	input.attributes.request.http.method == "GET"
	input.hopgate.user.claims.tenant == "acme"
}
