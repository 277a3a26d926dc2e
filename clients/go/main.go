// Publishes, lists, streams and resumes with a generated client and grpc-go's default limits.
//
// Usage: client PUBLISHER SUBSCRIBER. Prints `ok: NAME` or `FAILED: NAME: WHY` for each check. With a third argument, a channel
// or a pattern, it follows that instead (follow.go). Addresses with https:// are spoken to with TLS (transport, below).
package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"

	pb "tidings.example/client/tidingsv1"
)

// Numbers beyond a double, an order of keys and white space that a parser would not keep.
const exactJSON = `{"z": 9007199254740993,  "price": 1.10, "a": [1e400, "\u00e9"]}`

type clients struct {
	publisher  pb.PublisherServiceClient
	subscriber pb.SubscriberServiceClient
}

func fresh() string { return "go." + rand.Text() }

func text(channel, value string) *pb.PublishRequest {
	return &pb.PublishRequest{Channel: channel, Payload: &pb.PublishRequest_Text{Text: value}}
}

func payloads(ctx context.Context, c clients) error {
	channel, data := fresh(), []byte{0, 1, 0xff}
	for _, request := range []*pb.PublishRequest{
		text(channel, "naïve ☃"),
		{Channel: channel, Payload: &pb.PublishRequest_Json{Json: exactJSON}},
		{Channel: channel, Payload: &pb.PublishRequest_Data{Data: data}},
	} {
		if _, err := c.publisher.Publish(ctx, request); err != nil {
			return err
		}
	}
	page, err := c.subscriber.ListMessages(ctx, &pb.ListMessagesRequest{Channel: channel})
	if err != nil {
		return err
	}
	m := page.Messages
	if len(m) != 3 || m[0].GetText() != "naïve ☃" || m[1].GetJson() != exactJSON || !bytes.Equal(m[2].GetData(), data) {
		return fmt.Errorf("listed %v", m)
	}
	return nil
}

// A batch of 250, listed in pages of 60 and, in big messages, within the default limit of 4 MiB an answer.
func pages(ctx context.Context, c clients) error {
	channel := fresh()
	batch := &pb.PublishBatchRequest{Channel: channel}
	for range 250 {
		batch.Requests = append(batch.Requests, text("", "x"))
	}
	if _, err := c.publisher.PublishBatch(ctx, batch); err != nil {
		return err
	}
	for range 5 {
		if _, err := c.publisher.Publish(ctx, text(channel, strings.Repeat("x", 900_000))); err != nil {
			return err
		}
	}
	next, token := int64(1), ""
	for {
		page, err := c.subscriber.ListMessages(ctx, &pb.ListMessagesRequest{Channel: channel, PageSize: 60, PageToken: token})
		if err != nil {
			return err
		}
		for _, message := range page.Messages {
			if message.Sequence != next {
				return fmt.Errorf("sequence %d came where %d belongs", message.Sequence, next)
			}
			next++
		}
		if token = page.NextPageToken; token == "" {
			break
		}
	}
	if next != 256 {
		return fmt.Errorf("the list ended before %d", next)
	}
	return nil
}

func publishStream(ctx context.Context, c clients) error {
	channel := fresh()
	stream, err := c.publisher.PublishStream(ctx)
	if err != nil {
		return err
	}
	sent := make(chan error, 1)
	go func() {
		for n := range 300 {
			request := text(channel, "x")
			if n == 100 {
				request.Payload = nil
			}
			if err := stream.Send(&pb.PublishStreamRequest{Request: request}); err != nil {
				sent <- err
				return
			}
		}
		sent <- stream.CloseSend()
	}()
	for n := range 300 {
		answer, err := stream.Recv()
		if err != nil {
			return err
		}
		switch {
		case n == 100 && codes.Code(answer.GetError().GetCode()) != codes.InvalidArgument:
			return fmt.Errorf("the bad publish was answered with %v", answer)
		case n < 100 && answer.GetResponse().GetSequence() != int64(n+1), n > 100 && answer.GetResponse().GetSequence() != int64(n):
			return fmt.Errorf("publish %d was answered with %v", n, answer)
		}
	}
	return <-sent
}

// read collects the texts of a stream until there are count; caughtUp runs when the stream reaches the live end.
func read(ctx context.Context, c clients, request *pb.StreamMessagesRequest, count int, caughtUp func() error) ([]*pb.Message, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := c.subscriber.StreamMessages(ctx, request)
	if err != nil {
		return nil, err
	}
	var found []*pb.Message
	for len(found) < count {
		event, err := stream.Recv()
		if err != nil {
			return nil, err
		}
		if message := event.GetMessage(); message != nil {
			found = append(found, message)
		}
		if event.GetCaughtUp() != nil && caughtUp != nil {
			if err := caughtUp(); err != nil {
				return nil, err
			}
		}
	}
	return found, nil
}

func resume(ctx context.Context, c clients) error {
	channel := fresh()
	publish := func(word string) error {
		_, err := c.publisher.Publish(ctx, text(channel, word))
		return err
	}
	if err := publish("one"); err != nil {
		return err
	}
	found, err := read(ctx, c, &pb.StreamMessagesRequest{Channel: channel, Earliest: true}, 2, func() error { return publish("two") })
	if err != nil {
		return err
	}
	if err := publish("three"); err != nil {
		return err
	}
	resumed, err := read(ctx, c, &pb.StreamMessagesRequest{Channel: channel, After: []string{found[0].Cursor}}, 2, nil)
	if err != nil {
		return err
	}
	var words []string
	for _, message := range append(found, resumed...) {
		words = append(words, message.GetText())
	}
	if !slices.Equal(words, []string{"one", "two", "two", "three"}) {
		return fmt.Errorf("read %v", words)
	}
	return nil
}

func errors(ctx context.Context, c clients) error {
	_, err := c.publisher.Publish(ctx, &pb.PublishRequest{Channel: fresh()})
	if status.Code(err) != codes.InvalidArgument {
		return fmt.Errorf("answered with %v", err)
	}
	var field, domain string
	for _, detail := range status.Convert(err).Details() {
		switch detail := detail.(type) {
		case *errdetails.BadRequest:
			field = detail.FieldViolations[0].Field
		case *errdetails.ErrorInfo:
			domain = detail.Domain
		}
	}
	if field == "" || domain != "tidings" {
		return fmt.Errorf("field %q and domain %q in %v", field, domain, err)
	}
	return nil
}

// transport is TLS to https://, and plain text otherwise. Three variables, each with the name of a file in PEM, are for TLS:
// TIDINGS_CA, the authorities that the service's certificate is checked against (without it the system's), and TIDINGS_CERT and
// TIDINGS_KEY, for services that ask for a client certificate.
func transport(address string) (string, credentials.TransportCredentials, error) {
	host, isTLS := strings.CutPrefix(address, "https://")
	if !isTLS {
		return address, insecure.NewCredentials(), nil
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if ca := os.Getenv("TIDINGS_CA"); ca != "" {
		pem, err := os.ReadFile(ca)
		if err != nil {
			return "", nil, err
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return "", nil, fmt.Errorf("%s: no certificate", ca)
		}
	}
	if cert := os.Getenv("TIDINGS_CERT"); cert != "" {
		pair, err := tls.LoadX509KeyPair(cert, os.Getenv("TIDINGS_KEY"))
		if err != nil {
			return "", nil, err
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return host, credentials.NewTLS(config), nil
}

func connect(address string) *grpc.ClientConn {
	host, secure, err := transport(address)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	connection, err := grpc.NewClient(host, grpc.WithTransportCredentials(secure),
		// Without pings a dead connection, or a frozen server, would be noticed when TCP gives up: minutes later.
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 10 * time.Second, Timeout: 3 * time.Second, PermitWithoutStream: true}))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	return connection
}

func main() {
	c := clients{pb.NewPublisherServiceClient(connect(os.Args[1])), pb.NewSubscriberServiceClient(connect(os.Args[2]))}
	if len(os.Args) > 3 {
		fmt.Fprintln(os.Stderr, follow(context.Background(), c.subscriber, os.Args[3]))
		os.Exit(1)
	}
	code := 0
	for _, check := range []struct {
		name string
		run  func(context.Context, clients) error
	}{
		{"every payload arrives as it was sent", payloads},
		{"a batch and big messages are listed in pages", pages},
		{"a stream of publishes survives a bad one", publishStream},
		{"a stream replays, follows and resumes", resume},
		{"errors say which field and why", errors},
	} {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		err := check.run(ctx, c)
		cancel()
		if err != nil {
			code = 1
			fmt.Printf("FAILED: %s: %q\n", check.name, err)
			continue
		}
		fmt.Printf("ok: %s\n", check.name)
	}
	os.Exit(code)
}
