// Asks a Workload API as an application that uses go-spiffe does, and prints what came of it: one JSON object per line.
//
//	probe x509|bundles|wit|bare SOCKET
//	probe watch SOCKET COUNT
//	probe jwt|validate SOCKET AUDIENCE [TOKEN]
//	probe serve SOCKET            accepts mTLS, prints its address, answers each peer with its SPIFFE ID
//	probe dial SOCKET ADDRESS ID  calls such a server, which must be ID
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/jwtbundle"
	"github.com/spiffe/go-spiffe/v2/proto/spiffe/workload"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/spiffetls"
	"github.com/spiffe/go-spiffe/v2/spiffetls/tlsconfig"
	"github.com/spiffe/go-spiffe/v2/svid/jwtsvid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"github.com/spiffe/go-spiffe/v2/workloadapi"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
)

type object map[string]any

func say(what object) {
	if err := json.NewEncoder(os.Stdout).Encode(what); err != nil {
		panic(err)
	}
}

// failed says an error with its gRPC code; the words of a client's own checks have the code Unknown.
func failed(err error) {
	told := status.Convert(err)
	say(object{"error": told.Code().String(), "message": told.Message()})
}

func main() {
	if len(os.Args) < 3 {
		fmt.Fprintln(os.Stderr, "usage: probe COMMAND SOCKET ...")
		os.Exit(2)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := run(ctx, os.Args[1], "unix://"+os.Args[2], os.Args[3:]); err != nil {
		failed(err)
	}
}

func run(ctx context.Context, command, socket string, rest []string) error {
	if command == "bare" {
		return bare(ctx, socket)
	}
	address := workloadapi.WithAddr(socket)
	client, err := workloadapi.New(ctx, address)
	if err != nil {
		return err
	}
	defer client.Close()
	switch command {
	case "x509":
		return x509(ctx, client)
	case "bundles":
		return bundles(ctx, client)
	case "watch":
		count, err := strconv.Atoi(rest[0])
		if err != nil {
			return err
		}
		return watch(ctx, client, count)
	case "jwt":
		return jwt(ctx, client, rest[0])
	case "validate":
		svid, err := client.ValidateJWTSVID(ctx, rest[1], rest[0])
		if err != nil {
			return err
		}
		say(object{"id": svid.ID.String(), "audience": svid.Audience})
		return nil
	case "wit":
		_, err := client.FetchWITSVID(ctx, "")
		return err
	case "serve":
		return serve(ctx, address)
	case "dial":
		return dial(ctx, address, rest[0], rest[1])
	default:
		return errors.New("unknown command " + command)
	}
}

// bare calls as a program does that was tricked into it: without the security header.
func bare(ctx context.Context, socket string) error {
	plain := grpc.WithTransportCredentials(insecure.NewCredentials())
	connection, err := grpc.NewClient(socket, plain)
	if err != nil {
		return err
	}
	defer connection.Close()
	stream, err := workload.NewSpiffeWorkloadAPIClient(connection).FetchX509SVID(ctx, &workload.X509SVIDRequest{})
	if err != nil {
		return err
	}
	_, err = stream.Recv()
	return err
}

// told is what an update says, its certificate verified by its own bundles.
func told(update *workloadapi.X509Context) (object, error) {
	svid := update.DefaultSVID()
	id, _, err := x509svid.Verify(svid.Certificates, update.Bundles)
	if err != nil {
		return nil, err
	}
	domains := []string{}
	for _, bundle := range update.Bundles.Bundles() {
		domains = append(domains, bundle.TrustDomain().Name())
	}
	serial := fmt.Sprintf("%x", svid.Certificates[0].SerialNumber.Bytes())
	return object{"id": id.String(), "serial": serial, "domains": domains}, nil
}

func x509(ctx context.Context, client *workloadapi.Client) error {
	update, err := client.FetchX509Context(ctx)
	if err != nil {
		return err
	}
	what, err := told(update)
	if err != nil {
		return err
	}
	say(what)
	return nil
}

func bundles(ctx context.Context, client *workloadapi.Client) error {
	roots, err := client.FetchX509Bundles(ctx)
	if err != nil {
		return err
	}
	keys, err := client.FetchJWTBundles(ctx)
	if err != nil {
		return err
	}
	counts := object{}
	for _, bundle := range roots.Bundles() {
		counts[bundle.TrustDomain().Name()] = len(bundle.X509Authorities())
	}
	jwt := object{}
	for _, bundle := range keys.Bundles() {
		jwt[bundle.TrustDomain().Name()] = len(bundle.JWTAuthorities())
	}
	say(object{"x509": counts, "jwt": jwt})
	return nil
}

// watcher says each update and each error, and ends the watch after so many updates.
type watcher struct {
	left int
	end  context.CancelFunc
}

func (w *watcher) OnX509ContextUpdate(update *workloadapi.X509Context) {
	what, err := told(update)
	if err != nil {
		failed(err)
		return
	}
	say(what)
	if w.left--; w.left == 0 {
		w.end()
	}
}

func (w *watcher) OnX509ContextWatchError(err error) {
	if w.left > 0 {
		failed(err)
	}
}

func watch(ctx context.Context, client *workloadapi.Client, count int) error {
	ctx, end := context.WithCancel(ctx)
	defer end()
	w := &watcher{left: count, end: end}
	if err := client.WatchX509Context(ctx, w); w.left > 0 {
		say(object{"ended": status.Code(err).String()})
	}
	return nil
}

// jwt fetches a token, and the keys to verify it with.
func jwt(ctx context.Context, client *workloadapi.Client, audience string) error {
	svid, err := client.FetchJWTSVID(ctx, jwtsvid.Params{Audience: audience})
	if err != nil {
		return err
	}
	keys, err := client.FetchJWTBundles(ctx)
	if err != nil {
		return err
	}
	var source jwtbundle.Source = keys
	verified, err := jwtsvid.ParseAndValidate(svid.Marshal(), source, []string{audience})
	if err != nil {
		return err
	}
	say(object{"id": verified.ID.String(), "audience": verified.Audience, "token": svid.Marshal()})
	return nil
}

func serve(ctx context.Context, address workloadapi.ClientOption) error {
	source, err := workloadapi.NewX509Source(ctx, workloadapi.WithClientOptions(address))
	if err != nil {
		return err
	}
	defer source.Close()
	mode := spiffetls.MTLSServerWithRawConfig(tlsconfig.AuthorizeAny(), source, source)
	listener, err := spiffetls.ListenWithMode(ctx, "tcp", "127.0.0.1:0", mode)
	if err != nil {
		return err
	}
	say(object{"address": listener.Addr().String()})
	for {
		connection, err := listener.Accept()
		if err != nil {
			return err
		}
		answer(connection)
	}
}

func answer(connection net.Conn) {
	defer connection.Close()
	if _, err := bufio.NewReader(connection).ReadString('\n'); err != nil {
		return
	}
	id, err := spiffetls.PeerIDFromConn(connection)
	if err != nil {
		return
	}
	fmt.Fprintln(connection, id.String())
}

func dial(ctx context.Context, address workloadapi.ClientOption, server, expected string) error {
	source, err := workloadapi.NewX509Source(ctx, workloadapi.WithClientOptions(address))
	if err != nil {
		return err
	}
	defer source.Close()
	id, err := spiffeid.FromString(expected)
	if err != nil {
		return err
	}
	mode := spiffetls.MTLSClientWithRawConfig(tlsconfig.AuthorizeID(id), source, source)
	connection, err := spiffetls.DialWithMode(ctx, "tcp", server, mode)
	if err != nil {
		return err
	}
	defer connection.Close()
	fmt.Fprintln(connection, "who am I")
	said, err := io.ReadAll(connection)
	if err != nil {
		return err
	}
	say(object{"seen": string(said[:max(0, len(said)-1)])})
	return nil
}
