-- Answers HEAD, and If-None-Match with 304: nearer to the caller than the compressors, whose answer it empties.
-- Above this stands gateway/edge/etags.lua.

-- Returns the length that the body had, or nothing where it was not told.
local function leave_out_body(handle)
  local length, body = handle:headers():get("content-length"), handle:body()
  if body then body:setBytes("") end
  handle:headers():remove("content-length")
  return length
end

-- HEAD is a GET of whose answer nobody wants the body (RFC 9110, 9.3.2).
function envoy_on_request(handle)
  local headers, noted = handle:headers(), handle:streamInfo():dynamicMetadata()
  local known = headers:get("if-none-match")
  if known then noted:set("commerce", "known", known) end
  if headers:get(":method") == "HEAD" then
    noted:set("commerce", "head", true)
    headers:replace(":method", "GET")
  end
end

function envoy_on_response(handle)
  local noted = handle:streamInfo():dynamicMetadata():get("commerce")
  if not noted then return end
  local headers = handle:headers()
  local etag = headers:get("etag")
  if noted.known and headers:get(":status") == "200" and etag and knows(noted.known, etag) then
    headers:replace(":status", "304")
    headers:remove("content-type")
    leave_out_body(handle)
  elseif noted.head then
    local length = leave_out_body(handle)
    if length then handle:headers():add("content-length", length) end
  end
end
