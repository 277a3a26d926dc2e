package main

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	pb "tidings.example/client/tidingsv1"
)

// Heartbeats are asked for every five seconds: two of them, and some reserve. Pings (see connect) notice a frozen server as
// well, but not through a proxy that answers them itself.
const silence = 12 * time.Second

// position is where a stream resumes: on a channel after the last cursor received; on a pattern after the last one of the
// whole stream, and the last one of each channel since.
type position struct {
	whole string
	since map[string]string
}

func (p *position) request(topic string) *pb.StreamMessagesRequest {
	request := &pb.StreamMessagesRequest{HeartbeatInterval: durationpb.New(5 * time.Second)}
	cursors := append([]string{p.whole}, slices.Collect(maps.Values(p.since))...)
	if strings.ContainsAny(topic, "*?[") {
		request.Pattern = topic
	} else {
		request.Channel, cursors = topic, cursors[len(cursors)-1:]
	}
	if p.whole == "" {
		request.Earliest = true
	} else {
		request.After = cursors
	}
	return request
}

// isResumable says whether a stream can begin here without losing or repeating anything. On a pattern of more than 1,000
// channels it can't where messages came, and no cursor of the whole stream ever did, or so many of single channels that no
// request takes them.
func (p *position) isResumable() bool {
	return (p.whole != "" || len(p.since) == 0) && len(p.since) <= 1000
}

// atWhole notes where the stream is as a whole. It is empty on patterns of more than 1,000 channels: then what there is stays
// good.
func (p *position) atWhole(cursor string) {
	if cursor != "" {
		p.whole, p.since = cursor, map[string]string{}
	}
}

// follow prints the messages of a channel or a pattern from the oldest on, and resumes where it was when the connection is
// lost. It returns when the server refuses the request, and where a pattern of so many channels can't be resumed.
func follow(ctx context.Context, subscriber pb.SubscriberServiceClient, topic string) error {
	at := position{since: map[string]string{}}
	for {
		err := stream(ctx, subscriber, topic, &at)
		switch status.Code(err) {
		case codes.Unavailable, codes.Unknown, codes.Internal, codes.Canceled:
			if !at.isResumable() {
				return fmt.Errorf("%s can't be resumed, follow narrower patterns: %w", topic, err)
			}
			fmt.Fprintln(os.Stderr, "resuming:", err)
			time.Sleep(time.Second)
		default:
			return err
		}
	}
}

func stream(ctx context.Context, subscriber pb.SubscriberServiceClient, topic string, at *position) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	watchdog := time.AfterFunc(silence, cancel)
	defer watchdog.Stop()
	events, err := subscriber.StreamMessages(ctx, at.request(topic))
	if err != nil {
		return err
	}
	for {
		event, err := events.Recv()
		if err != nil {
			return err
		}
		watchdog.Reset(silence)
		switch event := event.Event.(type) {
		case *pb.StreamMessagesResponse_Message:
			message := event.Message
			fmt.Printf("received #%d %s\n", message.Sequence, message.GetJson())
			// What has no sequence is not kept: no stream can resume after it.
			if message.Sequence > 0 {
				at.since[message.Channel] = message.Cursor
			}
		case *pb.StreamMessagesResponse_Gap:
			gap := event.Gap
			until := "on"
			if gap.LastMissing > 0 {
				until = fmt.Sprintf("to #%d", gap.LastMissing)
			}
			fmt.Printf("lost from #%d %s\n", gap.FirstMissing, until)
			at.since[gap.Channel] = gap.Cursor
		case *pb.StreamMessagesResponse_Started:
			at.atWhole(event.Started.Cursor)
		case *pb.StreamMessagesResponse_CaughtUp:
			at.atWhole(event.CaughtUp.Cursor)
		case *pb.StreamMessagesResponse_Heartbeat:
			at.atWhole(event.Heartbeat.Cursor)
		}
	}
}
