# The server, and nothing else: no shell, no user but one without rights, no file that
# has to be written. GO_IMAGE is any image with Go 1.26, for where no registry is reached.
ARG GO_IMAGE=golang:1.26
FROM ${GO_IMAGE} AS build
WORKDIR /src
# go build downloads the modules of the program; go mod download would fetch those of its tests and tools too.
COPY . .
# What benchledger version says: --build-arg COMMIT="$(git rev-parse HEAD)" --build-arg DATE="$(git show -s --format=%cI)"
ARG COMMIT= DATE=
RUN CGO_ENABLED=0 GOGC=200 go build -buildvcs=false -trimpath \
    -ldflags "-s -w -X 'main.commit=$COMMIT' -X 'main.date=$DATE'" -o /benchledger ./cmd/benchledger

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /benchledger /benchledger
USER 65532:65532
ENV ADDR=0.0.0.0:8787 ENVIRONMENT=production
EXPOSE 8787
HEALTHCHECK --interval=5s --timeout=6s --start-period=30s --retries=2 CMD ["/benchledger", "health"]
ENTRYPOINT ["/benchledger"]
CMD ["serve"]
