# Built from a clone with: docker build -t tripline .
# Two stages: the second holds the static binary, the root certificates and the worked example, nothing else.
FROM golang:1.26-bookworm AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=dev
RUN CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X main.version=${VERSION}" -o /out/tripline ./cmd/tripline \
 && mkdir -p /out/data

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /out/tripline /tripline
COPY --from=build --chown=65532:65532 /out/data /data
COPY config.yaml /config.yaml
USER 65532:65532

VOLUME /data
EXPOSE 8080
STOPSIGNAL SIGTERM
# The binary asks its own /health: there is no shell in this image.
HEALTHCHECK --interval=30s --timeout=5s --start-period=10s CMD ["/tripline", "healthcheck"]
ENTRYPOINT ["/tripline"]
CMD ["run", "--config", "/config.yaml"]
