package agree.conflict

allow := true if input.attributes.request.http.method == "GET"

allow := false if input.hopgate.user.sub == "bob"
