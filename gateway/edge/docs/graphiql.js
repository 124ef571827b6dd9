// Asks the edge that the page came from. Headers, such as a token, are typed into their tab and kept nowhere.
const fetcher = GraphiQL.createFetcher({ url: "/graphql", enableIncrementalDelivery: false });
const page = React.createElement(GraphiQL, { fetcher, shouldPersistHeaders: false });
ReactDOM.render(page, document.getElementById("graphiql"));
