# The image holds one static binary and the CA certificates, nothing else.
# `make image` puts both into target/image and builds this file; to build it with another tool, run `make image` once
# and then, for example: docker build -t hopgate .
FROM scratch
COPY target/image/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY target/image/hopgate /hopgate
USER 65532:65532
ENTRYPOINT ["/hopgate"]
