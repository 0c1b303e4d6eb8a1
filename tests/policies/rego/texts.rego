package agree.texts

import rego.v1

host := lower(split(input.attributes.request.http.host, ":")[0])

allow if {
	endswith(host, ".example")
	startswith(input.attributes.request.http.path, "/customers/")
	sprintf("%s-%d", [host, count(input.parsed_path)]) == "shop.example-3"
	trim_suffix(host, ".example") == "shop"
	regex.match(`^/customers/[a-z]+/orders`, input.attributes.request.http.path)
	glob.match("/customers/*/orders", ["/"], concat("", ["/", concat("/", input.parsed_path)]))
}
