// Keeps a copy of all refs in a file: lists them once, then watches, and goes on after any interruption where it stopped.
//
// Usage: REFWATCH_SERVER=HOST:PORT follow STATE_FILE
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log"
	"math/rand"
	"os"
	"path/filepath"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"

	pb "refwatch/v1"
)

const (
	delayMin = 100 * time.Millisecond
	delayMax = 15 * time.Second
	// Longest wait for a page of refs.
	listTimeout = time.Minute
)

// The cursor leads nowhere any more: list again.
var gaps = map[string]bool{"CURSOR_EXPIRED": true, "CURSOR_FOREIGN_EPOCH": true, "CURSOR_AHEAD": true}

// The connection broke, or the server is busy, starts or stops: try again.
var transient = map[codes.Code]bool{
	codes.Unavailable:       true,
	codes.ResourceExhausted: true,
	codes.DeadlineExceeded:  true,
	codes.Aborted:           true,
	codes.Canceled:          true,
	codes.Unknown:           true,
	codes.Internal:          true,
}

// What is stored: the cursor, and the refs by repository and name as of it.
type state struct {
	Cursor string                       `json:"cursor"`
	Refs   map[string]map[string]string `json:"refs"`
}

func (s *state) set(repository, name, oid, symbolicTarget string) {
	if s.Refs[repository] == nil {
		s.Refs[repository] = map[string]string{}
	}
	if symbolicTarget != "" {
		oid = "ref:" + symbolicTarget
	}
	s.Refs[repository][name] = oid
}

// Applies an event. Types that this program does not know need no code: the change says it all.
func (s *state) apply(event *pb.GitEvent) {
	id := event.GetRepository().GetId()
	switch {
	case event.GetType() == pb.GitEventType_GIT_EVENT_TYPE_REPOSITORY_DELETED:
		delete(s.Refs, id)
	case event.GetChange() == pb.RefChange_REF_CHANGE_DELETED:
		delete(s.Refs[id], event.GetRefName())
	case event.GetChange() != pb.RefChange_REF_CHANGE_UNSPECIFIED:
		s.set(id, event.GetRefName(), event.GetNewOid(), event.GetNewSymbolicTarget())
	}
}

// Gives what was stored; nil where nothing was.
func load(path string) (*state, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	stored := &state{}
	return stored, json.Unmarshal(text, stored)
}

// Replaces the file: the cursor and what was made of it change together, or not at all.
func (s *state) store(path string) error {
	text, err := json.Marshal(s)
	if err != nil {
		return err
	}
	file, err := os.Create(path + ".tmp")
	if err != nil {
		return err
	}
	_, err = file.Write(text)
	if err == nil {
		err = file.Sync()
	}
	if closed := file.Close(); err == nil {
		err = closed
	}
	if err == nil {
		err = os.Rename(path+".tmp", path)
	}
	if err != nil {
		return err
	}
	folder, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer folder.Close()
	return folder.Sync()
}

// Gives all refs, and the cursor to watch from.
func list(client pb.GitEventServiceClient) (*state, error) {
	listed := &state{Refs: map[string]map[string]string{}}
	for request := new(pb.ListRefsRequest); ; {
		ctx, cancel := context.WithTimeout(context.Background(), listTimeout)
		page, err := client.ListRefs(ctx, request)
		cancel()
		if err != nil {
			return nil, err
		}
		for _, ref := range page.GetRefs() {
			listed.set(ref.GetRepositoryId(), ref.GetName(), ref.GetOid(), ref.GetSymbolicTarget())
		}
		listed.Cursor = page.GetCursor()
		if page.GetNextPageToken() == "" {
			return listed, nil
		}
		request.PageToken = page.GetNextPageToken()
	}
}

// Watches from the cursor until the stream breaks; calls back each time that it made progress.
func (s *state) follow(client pb.GitEventServiceClient, path string, progress func()) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	request := &pb.WatchEventsRequest{Start: &pb.WatchEventsRequest_Cursor{Cursor: s.Cursor}}
	stream, err := client.WatchEvents(ctx, request)
	if err != nil {
		return err
	}
	for {
		message, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		for _, event := range message.GetEvents().GetEvents() {
			s.apply(event)
			say(map[string]interface{}{
				"event":      event.GetEventId(),
				"type":       event.GetType().String(),
				"repository": event.GetRepository().GetPath(),
				"ref":        event.GetRefName(),
				"old":        event.GetOldOid(),
				"new":        event.GetNewOid(),
			})
		}
		if cursor := cursorOf(message); cursor != "" && cursor != s.Cursor {
			s.Cursor = cursor
			if err := s.store(path); err != nil {
				log.Fatal(err)
			}
		}
		progress()
	}
}

// Gives where a message stands. Kinds that this program does not know are skipped.
func cursorOf(message *pb.WatchEventsResponse) string {
	switch kind := message.GetKind().(type) {
	case *pb.WatchEventsResponse_Started:
		return kind.Started.GetCursor()
	case *pb.WatchEventsResponse_Events:
		return kind.Events.GetCursor()
	case *pb.WatchEventsResponse_Progress:
		return kind.Progress.GetCursor()
	default:
		return ""
	}
}

// Gives the reason of a status, and how long the server asks to wait.
func why(of *status.Status) (reason string, delay time.Duration) {
	for _, detail := range of.Details() {
		switch detail := detail.(type) {
		case *errdetails.ErrorInfo:
			if detail.GetDomain() == "refwatch" {
				reason = detail.GetReason()
			}
		case *errdetails.RetryInfo:
			delay = detail.GetRetryDelay().AsDuration()
		}
	}
	return reason, delay
}

func say(line interface{}) {
	text, err := json.Marshal(line)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(string(text))
}

func run(path string) error {
	// Without these a connection whose other end vanished would look like a quiet one.
	alive := grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 20 * time.Second, Timeout: 10 * time.Second})
	connection, err := grpc.Dial(os.Getenv("REFWATCH_SERVER"), grpc.WithInsecure(), alive)
	if err != nil {
		return err
	}
	defer connection.Close()
	client := pb.NewGitEventServiceClient(connection)
	known, err := load(path)
	if err != nil {
		return err
	}
	relist, delay := known == nil, delayMin
	for {
		err = nil
		if relist {
			var listed *state
			if listed, err = list(client); err == nil {
				// What was known and is not listed is deleted: the list takes the place of everything.
				known, relist = listed, false
				if err := known.store(path); err != nil {
					return err
				}
				count := 0
				for _, refs := range known.Refs {
					count += len(refs)
				}
				say(map[string]int{"listed": count})
			}
		}
		if err == nil {
			err = known.follow(client, path, func() { delay = delayMin })
		}
		wait := delay + time.Duration(rand.Int63n(int64(delay)))
		if err != nil {
			ended := status.Convert(err)
			reason, asked := why(ended)
			say(map[string]string{"ended": ended.Code().String(), "reason": reason})
			relist = relist || gaps[reason]
			if !gaps[reason] && !transient[ended.Code()] {
				return err
			}
			if asked > wait {
				wait = asked
			}
		}
		time.Sleep(wait)
		if delay *= 2; delay > delayMax {
			delay = delayMax
		}
	}
}

func main() {
	rand.Seed(time.Now().UnixNano())
	if len(os.Args) != 2 {
		log.Fatal("usage: follow STATE_FILE")
	}
	if err := run(os.Args[1]); err != nil {
		log.Fatal(err)
	}
}
