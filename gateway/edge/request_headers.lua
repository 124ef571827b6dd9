-- The first look at a request: what may not be is refused, what nobody behind reads is taken away.
-- Above this stand, compiled from gateway/edge/request_headers.py: CALLED, WEB, APP, MESSAGE, ENCODINGS,
-- LONGEST_TARGET, LARGEST_HEADERS, LONGEST_SERVICE, MOST_DIGITS, WHOLE_HEADER, WORDS, MOST_WORDS, REQUEST_INFO, MOST_PARAMETERS, LONGEST_NAME and FIELDS; and
-- gateway/edge/query.lua, query_fields.lua.

local PLAIN = {identity = true}

-- RFC 9110, 11.1: a scheme's name has no case. Behind this it is always written `Bearer`.
local function spell_scheme(headers)
  local written = headers:get("authorization")
  if written and written:sub(1, 7) ~= "Bearer " then
    local token = written:match("^[Bb][Ee][Aa][Rr][Ee][Rr] +(.*)$")
    if token then headers:replace("authorization", "Bearer " .. token) end
  end
end

-- Tells whether the text of x-written names a write, as services/rpc/written.py reads it: any other would go past
-- what is kept. Envoy joins the header's lines with commas.
local function names_write(text)
  for service, number in text:gmatch("%f[^%z, ](%l+)%-(%d+)%f[%z, ]") do
    if #service <= LONGEST_SERVICE and #number <= MOST_DIGITS then return true end
  end
end

-- Takes away every header that is not known or says nothing, and returns how many bytes the others have as gRPC counts them.
local function keep_known(headers, known)
  local unknown, bytes = {}, 0
  for name, value in pairs(headers) do
    if not known[name] or name == "x-written" and not names_write(value) then
      unknown[#unknown + 1] = name
    elseif name ~= ":path" then
      bytes = bytes + #name + #value + 32
    end
  end
  for _, name in ipairs(unknown) do headers:remove(name) end
  return bytes
end

-- Returns the id of the trace that a caller wrote, or nothing where it is not written as W3C Trace Context,
-- version 00, has it: it stands in logs and in answers, and a caller could write anything.
local function named_trace(parent)
  if not parent or #parent ~= 55 then return end
  local trace, span = parent:match("^00%-([%da-f]+)%-([%da-f]+)%-[%da-f][%da-f]$")
  if trace and #trace == 32 and trace:find("[^0]") and span:find("[^0]") then return trace end
end

-- Gives a call its one id, that of its trace: the caller's, or else Envoy's own of the call, which is random, without
-- its dashes. Returns it, and whether the caller named it.
local function name_call(headers)
  local named = named_trace(headers:get("traceparent"))
  local trace = named or headers:get("x-request-id"):gsub("%-", "")
  headers:replace("x-request-id", trace)
  return trace, named
end

-- Has a call's trace begin here, if nobody began it. The edge records no span; its half of the id stands where one
-- would be named.
local function join_trace(headers)
  local trace, named = name_call(headers)
  if not named then
    headers:replace("traceparent", "00-" .. trace .. "-" .. trace:sub(17) .. "-01")
    headers:remove("tracestate")
  end
  return trace
end

-- Returns what a log may tell of a path that leads nowhere: the words of the contract, and * for all others.
local function without_secrets(target)
  local told = {}
  for word in target:match("^[^?#]*"):gmatch("[^/]+") do
    if #told == MOST_WORDS then return "/" .. table.concat(told, "/") .. "/..." end
    told[#told + 1] = WORDS[word] and word or "*"
  end
  return "/" .. table.concat(told, "/")
end

-- Notes what others need of a request: its id as gRPC's refusals carry it, and what the log tells of its path.
local function note(handle, trace, path)
  handle:streamInfo():dynamicMetadata():set("commerce", "request", {
    info = REQUEST_INFO .. handle:base64Escape(trace):sub(1, 43),
    path = path,
  })
end

-- Refuses, in a query of REST, what may be there once and is there again, also where the path has said it; and
-- what the method does not know or cannot take.
local function judge_query(handle, target)
  local rules = target:find("?", 1, true) and handle:metadata():get("query")
  if not rules then return end
  -- Each costs more than the whole of what an ordinary query does.
  local _, count = target:gsub("&", "")
  if count >= MOST_PARAMETERS then
    return refusal_of("query", "VALUE_INVALID", "has more than " .. MOST_PARAMETERS .. " parameters")
  end
  local values, twice = parameters(target, rules.lists)
  for name in pairs(rules.path) do twice = twice or values[name] and name end
  if twice then
    local shown = unescaped(twice):sub(1, LONGEST_NAME):gsub("[^%w_.]", "?")
    return refusal_of(shown, "FIELD_REPEATED", "stands there twice")
  end
  -- Whoever needs a token and shows none is told that, by the filter that looks for tokens.
  if rules.needs_token and not handle:headers():get("authorization") then return end
  return rules.message and judge_parameters(target, rules.message)
end

-- Refuses what a filter or a service behind would take for another kind of call than its route is for.
local function judge_kind(kind, is_grpc, rules, is_whole)
  if is_grpc and (rules or not kind:find("^%+", #MESSAGE + 1) and #kind > #MESSAGE) then
    return refusal_of("content-type", "VALUE_INVALID", "is not of this path's kind of call")
  end
  -- The transcoder would read it, and what is in it would stand for what is in the path.
  if rules and rules.bodiless and not is_whole then
    return refusal_of("body", "FIELD_UNKNOWN", "is not known to this method")
  end
end

-- Returns the HTTP status to refuse a request with, or nothing; and what is said with it: headers, or why.
local function look(handle)
  local headers, route = handle:headers(), handle:metadata()
  local kind, target = headers:get("content-type"), headers:get(":path")
  local is_grpc = kind and kind:sub(1, #MESSAGE) == MESSAGE
  local is_unknown, is_whole = route:get("unknown"), headers:get(WHOLE_HEADER)
  -- Nobody behind unpacks a body of REST.
  local coding = headers:get("content-encoding")
  -- CONNECT has no target.
  note(handle, join_trace(headers), is_unknown and without_secrets(target or "") or route:get("path"))
  if not target then return "404" end
  if #target > LONGEST_TARGET then return "414" end
  local known = route:get("app") and APP or is_grpc and CALLED or WEB
  if keep_known(headers, known) > LARGEST_HEADERS then return "431" end
  if is_unknown then return "404" end
  if route:get("allow") then return "405", {allow = route:get("allow")} end
  -- Neither the edge nor a service shall refuse a call for what it does not need.
  if route:get("ignores_token") then headers:remove("authorization") else spell_scheme(headers) end
  if is_grpc then coding = headers:get("grpc-encoding") end
  if coding and not (is_grpc and ENCODINGS or PLAIN)[coding] then return "415" end
  local refusal = judge_kind(kind, is_grpc, route:get("query"), is_whole) or judge_query(handle, target)
  if refusal then return "400", refusal end
end

function envoy_on_request(handle)
  -- Where a script fails, Envoy lets the request pass as it is.
  local is_done, status, said = pcall(look, handle)
  if not is_done then return handle:respond({[":status"] = "500"}, "") end
  if status == "400" then return refuse_as(handle, said) end
  if not status then return end
  local answer = said or {}
  answer[":status"] = status
  handle:respond(answer, "")
end
