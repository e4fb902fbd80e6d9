package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	benchledger "github.com/benchledger/benchledger/clients/go"
)

type healthCommand struct {
	Addr    string        `env:"ADDR" default:"127.0.0.1:8787" placeholder:"HOST:PORT" help:"Address where the server listens; ${default} by default."`
	Timeout time.Duration `default:"5s" placeholder:"DURATION" help:"Timeout; ${default} by default."`
}

func (healthCommand) Help() string {
	return "Requests /readyz of a server on this machine; for health checks in containers without curl.\n\n" +
		"Exit status: 0 if the server is ready, otherwise 1."
}

// Run checks whether the server is ready.
func (c *healthCommand) Run() error {
	status, body, err := checkReadiness(context.Background(), c.Addr, c.Timeout)
	if err != nil {
		return err
	}
	printf("%s\n", body)
	if status != http.StatusOK {
		return exitError{1, fmt.Sprintf("the server is not ready: %d %s", status, http.StatusText(status))}
	}
	return nil
}

// checkReadiness requests /readyz of the server that listens on addr on this machine, and returns
// the status and the body of the response.
func checkReadiness(ctx context.Context, addr string, timeout time.Duration) (int, string, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return 0, "", fmt.Errorf("the address %q is not HOST:PORT: %w", addr, err)
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1" // It listens on all addresses.
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+net.JoinHostPort(host, port)+"/readyz", http.NoBody)
	if err != nil {
		return 0, "", err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, 4096))
	if foreign := (*benchledger.ForeignError)(nil); err == nil && errors.As(benchledger.Check(response, body, "status"), &foreign) {
		return 0, "", foreign
	}
	if object := (map[string]any)(nil); err == nil && response.StatusCode == http.StatusOK {
		if err := json.Unmarshal(body, &object); err != nil {
			return 0, "", otherJSON(response, err)
		}
	}
	return response.StatusCode, strings.TrimSpace(string(body)), err
}
