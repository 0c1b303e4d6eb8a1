# The image holds one static binary, the CA certificates, and nft with the libraries that it needs: the init step of a pod
# loads its rules with it, everything else is in the binary.
# `make image` puts all of it into target/image and builds this file; to build it with another tool, run `make image` once
# and then, for example: docker build -t hopgate .
FROM scratch
COPY target/image/nft/ /
COPY target/image/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY target/image/hopgate /hopgate
ENV PATH=/usr/sbin
USER 65532:65532
ENTRYPOINT ["/hopgate"]
