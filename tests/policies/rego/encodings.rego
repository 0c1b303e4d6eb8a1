package agree.encodings

allow if {
	base64.decode(input.attributes.request.http.headers["x-data"]) == "yes"
}

allow if {
	urlquery.decode_object(split(input.attributes.request.http.path, "?")[1]).shop[0] == "north"
}

allow if semver.compare(input.attributes.request.http.headers["x-version"], "2.0.0") >= 0
