-- Answers 304 where a caller has the page already; it stands before the filter that reads the file.
-- Above this stands gateway/edge/etags.lua.

function envoy_on_request(handle)
  local known = handle:headers():get("if-none-match")
  if known and knows(known, handle:filterContext():get("etag")) then handle:respond({[":status"] = "304"}, "") end
end
