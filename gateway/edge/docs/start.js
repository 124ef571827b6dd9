// Shows the document of this edge, and tries its operations on the edge that the page came from.
const spec = await (await fetch("/openapi.json")).json();
spec.servers = [{ url: location.origin }];
SwaggerUIBundle({ spec, dom_id: "#document", deepLinking: true });
