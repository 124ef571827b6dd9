// Shops with @commerce-mesh/client as it is installed, and returns what it saw.
import { CallError, Code, connect, createClient } from "@commerce-mesh/client";
import { OrderService, OrderState } from "@commerce-mesh/client/commerce/order/v1/order_pb.js";
import { ProductService } from "@commerce-mesh/client/commerce/product/v1/product_pb.js";
import { AuthService } from "@commerce-mesh/client/commerce/user/v1/auth_pb.js";
import { UserService } from "@commerce-mesh/client/commerce/user/v1/user_pb.js";

/** What a call is refused with. */
export async function refusal(call: Promise<unknown>): Promise<object> {
  try {
    await call;
  } catch (error) {
    if (!(error instanceof CallError)) throw error;
    const fields = error.violations.map((each) => each.field);
    return { code: Code[error.code], reason: error.reason, fields, named: error.requestId !== "" };
  }
  throw new Error("it was not refused");
}

export async function shop(options: Parameters<typeof connect>[0]): Promise<object> {
  const email = `${crypto.randomUUID()}@example.com`;
  const password = crypto.randomUUID();
  const guest = connect(options);
  const named = { email, displayName: "Ada" };
  const user = await createClient(UserService, guest).createUser({ user: named, password });
  const { tokens } = await createClient(AuthService, guest).createSession({ email, password });
  const found = await createClient(ProductService, guest).searchProducts({ query: "coffee", pageSize: 1 });
  const productId = found.products[0]?.productId ?? "nothing is found";

  const token = async () => `${tokens?.accessToken}\n`;
  const orders = createClient(OrderService, connect({ ...options, token }));
  const lines = [{ productId, quantity: 2 }];
  const order = await orders.placeOrder({ requestId: crypto.randomUUID(), lines, paymentToken: "tok_ok" });
  const listed = await orders.listOrders({ pageSize: 5 });
  const cancelled = await orders.cancelOrder({ orderId: order.orderId });
  return {
    name: user.displayName,
    sku: found.products[0]?.sku,
    placed: OrderState[order.state],
    listed: listed.orders.map((each) => each.orderId).includes(order.orderId),
    cancelled: OrderState[cancelled.state],
    missing: await refusal(orders.getOrder({ orderId: crypto.randomUUID() })),
    malformed: await refusal(orders.getOrder({ orderId: "of no form" })),
    tokenless: await refusal(createClient(OrderService, guest).listOrders({})),
  };
}
