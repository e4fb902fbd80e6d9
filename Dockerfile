# The server, and nothing else: no shell, no user but one without rights, no file that
# has to be written. GO_IMAGE is any image with Go 1.26, for where no registry is reached.
ARG GO_IMAGE=golang:1.26
FROM ${GO_IMAGE} AS build
WORKDIR /src
COPY go.mod go.sum ./
COPY clients/go/go.mod clients/go/go.sum clients/go/
RUN go mod download
COPY . .
RUN CGO_ENABLED=0 go build -buildvcs=false -trimpath -ldflags '-s -w' -o /benchledger ./cmd/benchledger

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /benchledger /benchledger
USER 65532:65532
ENV ADDR=0.0.0.0:8787 ENVIRONMENT=production
EXPOSE 8787
HEALTHCHECK --interval=5s --timeout=6s --start-period=30s --retries=2 CMD ["/benchledger", "health"]
ENTRYPOINT ["/benchledger"]
CMD ["serve"]
