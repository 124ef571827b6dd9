// Shops over gRPC at the edge, and prints what it saw as JSON: `shop ADDRESS FOLDER_OF_SERVICE_CONFIGS`.
package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	orderv1 "example.com/shop/gen/commerce/order/v1"
	productv1 "example.com/shop/gen/commerce/product/v1"
	userv1 "example.com/shop/gen/commerce/user/v1"
)

// connect opens a channel for one of the services, which retries as the contract says.
func connect(service string) *grpc.ClientConn {
	config := taken(os.ReadFile(filepath.Join(os.Args[2], service+".json")))
	return taken(grpc.NewClient(os.Args[1],
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultServiceConfig(string(config)),
		// The config asks for the health of a service itself, which the edge does not tell.
		grpc.WithDisableHealthCheck(),
	))
}

// taken returns the answer of a call, or ends the program with the error.
func taken[T any](answer T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return answer
}

// uuid returns a random one (RFC 9562, version 4).
func uuid() string {
	var b [16]byte
	rand.Read(b[:])
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// refusal returns the code and the stable name of what a call is refused with.
func refusal(err error) string {
	for _, detail := range status.Convert(err).Details() {
		if info, ok := detail.(*errdetails.ErrorInfo); ok {
			return status.Code(err).String() + " " + info.Reason
		}
	}
	return status.Code(err).String()
}

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	users, products, orders := connect("user"), connect("product"), connect("order")
	email, password := uuid()+"@example.com", uuid()
	user := taken(userv1.NewUserServiceClient(users).CreateUser(ctx, &userv1.CreateUserRequest{
		User: &userv1.User{Email: email, DisplayName: "Ada"}, Password: password,
	}))
	session := taken(userv1.NewAuthServiceClient(users).CreateSession(ctx, &userv1.CreateSessionRequest{
		Email: email, Password: password,
	}))
	search := &productv1.SearchProductsRequest{Query: "coffee", PageSize: 1}
	found := taken(productv1.NewProductServiceClient(products).SearchProducts(ctx, search))

	shop := orderv1.NewOrderServiceClient(orders)
	_, tokenless := shop.ListOrders(ctx, &orderv1.ListOrdersRequest{})
	ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+session.Tokens.AccessToken)
	order := taken(shop.PlaceOrder(ctx, &orderv1.PlaceOrderRequest{
		RequestId:    uuid(),
		Lines:        []*orderv1.PlaceOrderLine{{ProductId: found.Products[0].ProductId, Quantity: 2}},
		PaymentToken: "tok_ok",
	}))
	_, missing := shop.GetOrder(ctx, &orderv1.GetOrderRequest{OrderId: uuid()})
	json.NewEncoder(os.Stdout).Encode(map[string]any{
		"name": user.DisplayName, "sku": found.Products[0].Sku, "placed": order.State.String(),
		"missing": refusal(missing), "tokenless": refusal(tokenless),
	})
}
