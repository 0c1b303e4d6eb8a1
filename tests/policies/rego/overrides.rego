package agree.overrides

inner if input.hopgate.user.sub == "alice"

allow if {
	inner with input.hopgate.user.sub as object.get(input, ["hopgate", "user", "claims", "on_behalf_of"], "nobody")
}

allow if inner
