package agree.arithmetic

import rego.v1

total := sum([cost | some line in input.parsed_body.lines; cost := line.price * line.count])

allow if {
	total <= 100
	total % 5 == 0
	max([line.count | line := input.parsed_body.lines[_]]) < 10
}

allow := false if total > 100
