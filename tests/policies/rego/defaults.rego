package agree.defaults

default allow := false

allow if input.hopgate.user.sub == "alice"
