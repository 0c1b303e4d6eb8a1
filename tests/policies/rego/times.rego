package agree.times

allow if {
	at := time.parse_rfc3339_ns(input.attributes.request.time)
	time.weekday(at) == "Monday"
	[hour, _, _] := time.clock([at, "Europe/Berlin"])
	hour >= 9
	hour < 17
}

allow := false if time.now_ns() < 0
