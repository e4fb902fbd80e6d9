package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime"
	"time"

	"github.com/lmittmann/tint"

	"github.com/benchledger/benchledger/api"
)

// logger writes readable lines to a terminal, otherwise structured lines: JSON, or key=value in local.
func (c *serveCommand) logger() *slog.Logger {
	switch {
	case onTerminal():
		isPlain := os.Getenv("NO_COLOR") != "" || runtime.GOOS == "windows" // Its older terminals do not support colors.
		return api.NewLogger(forTerminal(os.Stderr, isPlain))
	case c.Environment == "local":
		return api.NewLogger(slog.NewTextHandler(stderr, nil))
	default:
		return api.NewLogger(slog.NewJSONHandler(stderr, nil))
	}
}

// forTerminal returns a handler for people.
func forTerminal(w io.Writer, isPlain bool) slog.Handler {
	return forPeople{tint.NewTextHandler(w, &tint.Options{TimeFormat: time.TimeOnly, NoColor: isPlain, ReplaceAttr: printableAttr})}
}

// printableAttr makes the message and values printable: the handler writes colors, and therefore lets escape
// sequences through.
func printableAttr(_ []string, a slog.Attr) slog.Attr {
	switch value := a.Value.Any().(type) {
	case string:
		a.Value = slog.StringValue(printable(value))
	case error:
		a.Value = slog.StringValue(printable(value.Error()))
	case slog.Level:
	default:
		if a.Value.Kind() == slog.KindAny {
			a.Value = slog.StringValue(printable(fmt.Sprintf("%+v", value)))
		}
	}
	return a
}

// forPeople shortens the lines about requests. Failed requests keep their ID, to find related lines.
type forPeople struct{ slog.Handler }

// Handle writes a line.
func (h forPeople) Handle(ctx context.Context, record slog.Record) error {
	if record.Message != "request" {
		return h.Handler.Handle(ctx, record)
	}
	attrs := map[string]slog.Value{}
	record.Attrs(func(a slog.Attr) bool {
		attrs[a.Key] = a.Value
		return true
	})
	took := roundly(time.Duration(attrs["durationMs"].Float64() * float64(time.Millisecond)))
	status := attrs["status"].Int64()
	line := slog.NewRecord(record.Time, record.Level, fmt.Sprintf("%d %-4s %s  %s", status, attrs["method"], shown(attrs["path"]), took), 0)
	if status >= 400 {
		line.AddAttrs(slog.Attr{Key: "requestId", Value: attrs["requestId"]})
	}
	return h.Handler.Handle(ctx, line)
}

// WithAttrs returns a handler with further attributes.
func (h forPeople) WithAttrs(attrs []slog.Attr) slog.Handler {
	return forPeople{h.Handler.WithAttrs(attrs)}
}

// WithGroup returns a handler with a group.
func (h forPeople) WithGroup(name string) slog.Handler { return forPeople{h.Handler.WithGroup(name)} }
