package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"
)

// request is one that a client sends.
type request struct {
	method, path string
	body         []byte
}

// sample is what was measured in a time: how many a second, and how long each took.
type sample struct {
	rate      float64
	latencies []time.Duration
	// used of the server, by each request.
	processor   time.Duration
	allocations float64
}

// quantile returns the latency that so much of all is not above.
func (s *sample) quantile(q float64) time.Duration {
	if len(s.latencies) == 0 {
		return 0
	}
	slices.Sort(s.latencies)
	return s.latencies[min(len(s.latencies)-1, int(q*float64(len(s.latencies))))]
}

func newClient(s *server, connections int) *fasthttp.HostClient {
	return &fasthttp.HostClient{Addr: s.address, MaxConns: connections, ReadTimeout: time.Minute, WriteTimeout: time.Minute, MaxConnWaitTimeout: time.Minute}
}

// send sends a request, and returns an error where the answer is not good.
func send(client *fasthttp.HostClient, r request) error {
	sent, answer := fasthttp.AcquireRequest(), fasthttp.AcquireResponse()
	defer fasthttp.ReleaseRequest(sent)
	defer fasthttp.ReleaseResponse(answer)
	sent.SetRequestURI("http://benchledger" + r.path)
	sent.Header.SetMethod(r.method)
	if r.body != nil {
		sent.Header.Set("Authorization", "Bearer "+key)
		sent.Header.SetContentType("application/json")
		sent.SetBodyRaw(r.body)
	}
	if err := client.Do(sent, answer); err != nil {
		return err
	}
	if status := answer.StatusCode(); status != http.StatusOK && status != http.StatusCreated {
		return fmt.Errorf("%s %s: %d %s", r.method, r.path, status, answer.Body())
	}
	return nil
}

// runClosed has clients send one request after another for a time.
func runClosed(ctx context.Context, s *server, clients int, long time.Duration, next func(*rand.Rand) request) (sample, error) {
	client := newClient(s, clients)
	defer client.CloseIdleConnections()
	before, err := s.usage()
	if err != nil {
		return sample{}, err
	}
	latencies, failures := make([][]time.Duration, clients), make([]error, clients)
	var working sync.WaitGroup
	start := time.Now()
	for i := range clients {
		working.Go(func() {
			random := rand.New(rand.NewPCG(uint64(i), uint64(start.UnixNano())))
			for time.Since(start) < long && ctx.Err() == nil {
				r := next(random)
				sent := time.Now()
				if err := send(client, r); err != nil {
					failures[i] = err
					return
				}
				latencies[i] = append(latencies[i], time.Since(sent))
			}
		})
	}
	working.Wait()
	took := time.Since(start)
	if err := errors.Join(append(failures, ctx.Err())...); err != nil {
		return sample{}, err
	}
	after, err := s.usage()
	if err != nil {
		return sample{}, err
	}
	result := sample{latencies: slices.Concat(latencies...)}
	n := float64(len(result.latencies))
	result.rate = n / took.Seconds()
	result.processor = time.Duration(float64(after.processor-before.processor) / n)
	result.allocations = (after.allocations - before.allocations) / n
	return result, nil
}

// stream sends so many requests a second, whether the answers come or not. Latency
// counts from when a request was due.
type stream struct {
	perSecond int
	next      func(*rand.Rand) request
}

// runOpen sends several streams at once, over so many connections, and returns what
// each measured, and the most memory that the server had.
func runOpen(ctx context.Context, s *server, connections int, long time.Duration, streams []stream) ([]sample, uint64, error) {
	client := newClient(s, connections)
	defer client.CloseIdleConnections()
	samples, failures := make([]sample, len(streams)), make([]error, len(streams))
	places := make(chan struct{}, connections)
	var mu sync.Mutex
	var most atomic.Uint64
	var working sync.WaitGroup
	start := time.Now()
	for i, stream := range streams {
		working.Go(func() {
			random := rand.New(rand.NewPCG(uint64(i), uint64(start.UnixNano())))
			interval := time.Second / time.Duration(stream.perSecond)
			var requests sync.WaitGroup
			for n := 0; ; n++ {
				due := start.Add(time.Duration(n) * interval)
				if due.Sub(start) >= long || ctx.Err() != nil {
					break
				}
				time.Sleep(time.Until(due))
				r := stream.next(random)
				places <- struct{}{}
				requests.Go(func() {
					defer func() { <-places }()
					err := send(client, r)
					took := time.Since(due)
					mu.Lock()
					defer mu.Unlock()
					samples[i].latencies = append(samples[i].latencies, took)
					failures[i] = errors.Join(failures[i], err)
				})
				if n%stream.perSecond == 0 {
					if used, err := s.usage(); err == nil {
						most.Store(max(most.Load(), used.resident))
					}
				}
			}
			requests.Wait()
			samples[i].rate = float64(len(samples[i].latencies)) / time.Since(start).Seconds()
		})
	}
	working.Wait()
	return samples, most.Load(), errors.Join(append(failures, ctx.Err())...)
}
