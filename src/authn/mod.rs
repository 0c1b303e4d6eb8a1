//! Evidence to principals: who is on the wire, and whose token the request carries.
