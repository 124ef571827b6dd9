// Shops over gRPC at the edge, and prints what it saw as JSON: `Shop ADDRESS FOLDER_OF_SERVICE_CONFIGS`.

import com.commerce.order.v1.GetOrderRequest;
import com.commerce.order.v1.ListOrdersRequest;
import com.commerce.order.v1.OrderServiceGrpc;
import com.commerce.order.v1.PlaceOrderLine;
import com.commerce.order.v1.PlaceOrderRequest;
import com.commerce.product.v1.ProductServiceGrpc;
import com.commerce.product.v1.SearchProductsRequest;
import com.commerce.user.v1.AuthServiceGrpc;
import com.commerce.user.v1.CreateSessionRequest;
import com.commerce.user.v1.CreateUserRequest;
import com.commerce.user.v1.User;
import com.commerce.user.v1.UserServiceGrpc;
import com.google.gson.Gson;
import com.google.protobuf.InvalidProtocolBufferException;
import com.google.rpc.ErrorInfo;
import io.grpc.ManagedChannel;
import io.grpc.ManagedChannelBuilder;
import io.grpc.Metadata;
import io.grpc.StatusRuntimeException;
import io.grpc.protobuf.StatusProto;
import io.grpc.stub.MetadataUtils;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;
import java.util.UUID;
import java.util.function.Supplier;

final class Shop {
  private static final Metadata.Key<String> AUTHORIZATION =
      Metadata.Key.of("authorization", Metadata.ASCII_STRING_MARSHALLER);

  /** Opens a channel for one of the services, which retries as the contract says. */
  private static ManagedChannel connect(String address, String configs, String service) throws IOException {
    var written = Files.readString(Path.of(configs, service + ".json"));
    @SuppressWarnings("unchecked")
    Map<String, ?> config = new Gson().fromJson(written, Map.class);
    return ManagedChannelBuilder.forTarget(address).usePlaintext().defaultServiceConfig(config).build();
  }

  /** Returns the code and the stable name of what a call is refused with. */
  private static String refusal(Supplier<?> call) throws InvalidProtocolBufferException {
    try {
      call.get();
    } catch (StatusRuntimeException error) {
      for (var detail : StatusProto.fromThrowable(error).getDetailsList()) {
        if (detail.is(ErrorInfo.class)) {
          return error.getStatus().getCode() + " " + detail.unpack(ErrorInfo.class).getReason();
        }
      }
      return error.getStatus().toString();
    }
    return "it was not refused";
  }

  public static void main(String[] arguments) throws IOException {
    var users = connect(arguments[0], arguments[1], "user");
    var products = connect(arguments[0], arguments[1], "product");
    var orders = connect(arguments[0], arguments[1], "order");
    var email = UUID.randomUUID() + "@example.com";
    var password = UUID.randomUUID().toString();
    var user = UserServiceGrpc.newBlockingStub(users).createUser(CreateUserRequest.newBuilder()
        .setUser(User.newBuilder().setEmail(email).setDisplayName("Ada")).setPassword(password).build());
    var session = AuthServiceGrpc.newBlockingStub(users).createSession(
        CreateSessionRequest.newBuilder().setEmail(email).setPassword(password).build());
    var product = ProductServiceGrpc.newBlockingStub(products).searchProducts(
        SearchProductsRequest.newBuilder().setQuery("coffee").setPageSize(1).build()).getProducts(0);

    var guest = OrderServiceGrpc.newBlockingStub(orders);
    var token = new Metadata();
    token.put(AUTHORIZATION, "Bearer " + session.getTokens().getAccessToken());
    var shop = guest.withInterceptors(MetadataUtils.newAttachHeadersInterceptor(token));
    var order = shop.placeOrder(PlaceOrderRequest.newBuilder()
        .setRequestId(UUID.randomUUID().toString())
        .addLines(PlaceOrderLine.newBuilder().setProductId(product.getProductId()).setQuantity(2))
        .setPaymentToken("tok_ok").build());
    var unknown = GetOrderRequest.newBuilder().setOrderId(UUID.randomUUID().toString()).build();
    System.out.println(new Gson().toJson(Map.of(
        "name", user.getDisplayName(), "sku", product.getSku(), "placed", order.getState().name(),
        "missing", refusal(() -> shop.getOrder(unknown)),
        "tokenless", refusal(() -> guest.listOrders(ListOrdersRequest.getDefaultInstance())))));
    for (var channel : new ManagedChannel[] {users, products, orders}) {
      channel.shutdownNow();
    }
  }
}
