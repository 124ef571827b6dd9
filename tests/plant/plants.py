"""Defects of one line at the rules that matter most, and the tests that must fail with each."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Plant:
    """One line of the product made wrong."""

    # The rule that is broken.
    rule: str
    # Relative to the root of the tree.
    path: str
    # What stands there once, and what takes its place.
    sound: str
    broken: str
    # What pytest runs: files or node ids.
    tests: tuple[str, ...]


_CALLS = "tests/clients/test_python_calls.py::"
_FOLLOWER = "tests/clients/test_python_feed.py::"
_EVENTS = "tests/storage/test_events.py::"
_CHANNEL = "tests/rpc/test_channel.py::"
_ARRIVAL = "tests/gateway/test_edge_arrival.py::"
_GROUPS = "tests/rpc/test_groups.py::"
_PIPELINE = "tests/order/test_pipeline.py::"
_STOCK = "tests/product/test_domain.py::"
_BACKORDERS = "tests/product/test_backorders.py::"
_OAUTH = "tests/user/test_oauth.py::"
_CLIENT_SESSIONS = "tests/user/test_client_sessions.py::"
_WAITING_CODES = "tests/user/test_waiting_codes.py::"
_OAUTH_ATTACKS = "tests/attacks/test_oauth.py::"
_REFUSALS = "tests/gateway/test_compiler_refusals.py::"
_ERASING = "tests/user/test_erasing.py::"
_ROTATION = "tests/user/test_rotation.py::"
_SEALING = "tests/user/test_sealing.py::"
_PASSWORD_CHANGE = "tests/user/test_password_change.py::"
_SECOND_FACTOR = "tests/user/test_second_factor.py::"
_RECOVERY = "tests/user/test_recovery.py::"
_LIMITS = "tests/gateway/test_edge_limits.py::"
_AUDIT = "tests/user/test_audit.py::"

PLANTS = (
    Plant(
        "a token that was verified before ends with its time",
        "services/rpc/identity.py",
        "if claims is None or now >= claims.expires_at or now >= self._old_at:",
        "if claims is None or now >= self._old_at:",
        ("tests/rpc/test_identity.py",),
    ),
    Plant(
        "one sequencer numbers at a time",
        "services/storage/events.py",
        "SELECT last FROM seq_head FOR UPDATE SKIP LOCKED",
        "SELECT last FROM seq_head",
        (_EVENTS + "test_a_second_sequencer_numbers_nothing_while_one_is_stopped_in_the_middle",),
    ),
    Plant(
        "the feed keeps the order of each stream",
        "services/storage/events.py",
        "row_number() OVER (ORDER BY ev_id)",
        "row_number() OVER (ORDER BY ev_id DESC)",
        (_EVENTS + "test_feed_is_complete_and_in_order_beside_slow_failing_and_parallel_writers",),
    ),
    Plant(
        "a channel sends again only what may be repeated",
        "services/rpc/channel.py",
        "if not is_repeatable or not is_without_connection(error):",
        "if not is_without_connection(error):",
        (_CHANNEL + "test_only_what_may_be_repeated_is_sent_again_when_its_effect_is_unknown",),
    ),
    Plant(
        "compiled clients repeat only what may be repeated",
        "gateway/clients.py",
        "for method in methods if method.attempts > 1]",
        "for method in methods]",
        ("tests/gateway/test_generate.py::test_client_configs_retry_only_what_may_be_repeated",),
    ),
    Plant(
        "an internal method has the callers that it names",
        "services/rpc/interceptors.py",
        "if policy.access is Access.INTERNAL and service not in policy.services:",
        "if policy.access is Access.INTERNAL and not service:",
        ("tests/rpc/test_interceptors.py::test_first_broken_rule_decides_the_refusal",),
    ),
    Plant(
        "no level is below zero, whatever a statement says",
        "services/product/migrations/0002_inventory.sql",
        "CHECK (free >= 0)",
        "CHECK (free >= -1000)",
        ("tests/product/test_schema.py::test_the_schema_refuses_what_must_never_be",),
    ),
    Plant(
        "nobody holds more than one person may",
        "services/product/reservations/decisions.py",
        "if held.reservations >= most.reservations or units > most.units:",
        "if units > most.units:",
        (_STOCK + "test_a_person_holds_so_much_and_no_more",),
    ),
    Plant(
        "nobody holds more of one product than one person may",
        "services/product/reservations/decisions.py",
        "if held.of_product.get(product_id, 0) + wanted > limit:",
        "if held.of_product.get(product_id, 0) > limit:",
        (_STOCK + "test_a_person_holds_so_much_of_a_product_and_no_more",),
    ),
    Plant(
        "who may not see a product hears nothing of it",
        "services/product/watching/streams.py",
        "if state is not None or product_id in known:",
        "if state is not None or True:",
        ("tests/product/test_watching.py::test_what_may_not_be_seen_leaves_no_trace",),
    ),
    Plant(
        "each unit that is not in the house is told to who ordered it",
        "services/product/reservations/changes.py",
        "if noted != taken:",
        "if noted == taken:",
        (_BACKORDERS + "test_buyers_all_at_once_never_pass_the_limit_and_each_unit_lacks_once",),
    ),
    Plant(
        "stock goes back once",
        "services/product/reservations/store.py",
        "WHERE order_id = ANY($1) AND state = ANY($3)",
        "WHERE order_id = ANY($1) AND 'HELD' = ANY($3)",
        ("tests/product/test_stock.py::test_a_release_gives_everything_back_and_may_be_repeated",),
    ),
    Plant(
        "an order of another person is not there",
        "services/order/orders/servicer.py",
        "if not caller().owns(order.user_id):",
        "if caller().subject is None:",
        ("tests/order/test_orders.py::test_anothers_order_is_answered_as_a_missing_one",),
    ),
    Plant(
        "who read an older order does not change it",
        "services/etags.py",
        "if etag and etag != current:",
        'if etag == "0":',
        ("tests/order/test_orders.py::test_cancelling_with_a_stale_etag_is_refused",),
    ),
    Plant(
        "an order is charged once",
        "services/order/payments/provider.py",
        'return f"{order.order_id}:{act}"',
        'return f"{order.order_id}:{act}:{id(act)}{id(order)}"',
        ("tests/order/test_crashes.py::test_an_order_ends_although_its_worker_is_killed",),
    ),
    Plant(
        "stock goes back after the money",
        "services/order/orders/domain.py",
        "            PAYMENT_SETTLED,\n            frozenset(StockState) - _RELEASED,",
        "            None,\n            frozenset(StockState) - _RELEASED,",
        ("tests/order/test_domain.py",),
    ),
    Plant(
        "a request_id stands for one request",
        "services/storage/idempotency.py",
        'if (row["method"], row["request_hash"]) != (key.method, key.request_hash):',
        'if row["method"] != key.method:',
        (
            "tests/storage/test_idempotency.py::test_first_answer_is_returned_to_the_same_request_and_no_other",
        ),
    ),
    Plant(
        "a page token is one of ours",
        "services/storage/paging.py",
        "if not any(matches):",
        "if not matches:",
        ("tests/storage/test_paging.py::test_changed_page_token_is_refused_wherever_it_is_changed",),
    ),
    Plant(
        "a token ends with its session",
        "services/rpc/endings.py",
        "return session_id in self._sessions or (",
        "return (",
        ("tests/rpc/test_endings.py",),
    ),
    Plant(
        "a token ends when its account gets other roles",
        "services/rpc/endings_feed.py",
        'case "UserUpdated" if "roles" in data.changed_fields:',
        'case "UserUpdated" if "role" in data.changed_fields:',
        ("tests/rpc/test_endings_feed.py",),
    ),
    Plant(
        "no log-in by the old password outlives its change",
        "services/user/sessions/log_in.py",
        "found.user_id) == found.password_hash",
        "found.user_id) is not None",
        (_PASSWORD_CHANGE + "test_no_log_in_begins_whose_password_is_changed_while_it_waits",),
    ),
    Plant(
        "a refresh token that is used twice ends its session",
        "services/user/sessions/domain.py",
        "    if token_used:\n",
        "    if token_used and session.end_time is not None:\n",
        ("tests/user/test_sessions.py::test_a_token_used_twice_ends_its_session_for_both",),
    ),
    Plant(
        "of orders that are decided together none takes what another has taken",
        "services/product/reservations/decisions.py",
        "if prospect.offers[product_id].available - taken.get(product_id, 0) < quantity:",
        "if prospect.offers[product_id].available < quantity:",
        (_STOCK + "test_of_orders_decided_together_the_first_come_gets_the_last_units",),
    ),
    Plant(
        "one person's orders of one group count for one another",
        "services/product/reservations/decisions.py",
        "check_room(request, prospect.held + before, most)",
        "check_room(request, prospect.held, most)",
        (_STOCK + "test_of_orders_decided_together_those_of_one_person_count_for_one_another",),
    ),
    Plant(
        "a command that breaks its group fails alone",
        "services/rpc/groups.py",
        "            for member in members:\n                member.tell(None)",
        "            for member in members:\n                member.outcome.set_exception(error)",
        (_GROUPS + "test_a_command_that_breaks_its_group_fails_alone",),
    ),
    Plant(
        "whose deadline is over is left out of its group",
        "services/rpc/groups.py",
        "if member.context.run(is_over):",
        "if member.context.run(is_over) and member.outcome.done():",
        (_GROUPS + "test_whose_deadline_has_passed_is_left_out",),
    ),
    Plant(
        "the schema lets an order be charged once",
        "services/order/migrations/0001_orders.sql",
        "CREATE UNIQUE INDEX events_one_capture_key",
        "CREATE INDEX events_one_capture_key",
        ("tests/order/test_store.py::test_the_schema_lets_an_order_be_charged_once",),
    ),
    Plant(
        "an e-mail address has one form",
        "services/user/accounts/emails.py",
        "return CanonicalEmail(address.translate(_LOWER_CASE))",
        "return CanonicalEmail(address)",
        ("tests/user/test_emails.py",),
    ),
    Plant(
        "a message has as long to arrive at a service as a body has at the edge",
        "services/rpc/interceptors.py",
        "MESSAGE_SECONDS = 2.0",
        "MESSAGE_SECONDS = 20.0",
        (_ARRIVAL + "test_the_edge_waits_for_a_body_as_long_as_a_service_for_a_message",),
    ),
    Plant(
        "no caller takes more places than its share",
        "services/rpc/places.py",
        "if taken >= self._per_caller:",
        "if taken >= self.total:",
        ("tests/rpc/test_arrival.py::test_no_caller_gets_more_than_its_share_and_none_is_lost",),
    ),
    Plant(
        "who asks is part of an order's id",
        "services/order/orders/domain.py",
        'return uuid5(_ORDER_NAMESPACE, f"{user_id}:{request_id}")',
        'return uuid5(_ORDER_NAMESPACE, f"{request_id}")',
        ("tests/order/test_domain.py::test_a_request_names_one_order_of_its_owner_alone",),
    ),
    Plant(
        "a line's total is rounded half-even",
        "services/money.py",
        "rounding=ROUND_HALF_EVEN",
        'rounding="ROUND_HALF_UP"',
        ("tests/services/test_values.py::test_line_is_rounded_half_even_to_the_minor_unit",),
    ),
    Plant(
        "a call that runs is finished before its process ends",
        "services/rpc/server.py",
        "await self.server.stop(grace_seconds)",
        "await self.server.stop(0)",
        ("tests/rpc/test_process.py::test_sigterm_drains_and_ends_with_status_0",),
    ),
    Plant(
        "a worker has no deadline of the call that placed its order",
        "services/order/pipeline/workers.py",
        ", context=self._context.copy()",
        "",
        (_PIPELINE + "test_a_worker_has_no_deadline_of_the_call_that_placed_its_order",),
    ),
    Plant(
        "an order that may have been written waits for no lease",
        "services/order/pipeline/workers.py",
        "claim.is_written or claim.is_in_doubt",
        "claim.is_written",
        (_PIPELINE + "test_an_order_of_which_nobody_knows_whether_it_was_written_waits_for_no_lease",),
    ),
    Plant(
        "a follower resumes behind the last event that it gave",
        "clients/python/src/commerce_mesh_client/feed.py",
        "                        position = event.position\n",
        "",
        (_FOLLOWER + "test_interrupted_feed_goes_on_behind_the_last_event",),
    ),
    Plant(
        "a follower's position is kept once its work is done",
        "clients/python/src/commerce_mesh_client/feed.py",
        """            yield event
            if store is not None:
                await _keep(store, event.position)
""",
        """            if store is not None:
                await _keep(store, event.position)
            yield event
""",
        (_FOLLOWER + "test_event_that_its_reader_died_of_comes_again",),
    ),
    Plant(
        "a client's call has no more time than the block around it",
        "clients/python/src/commerce_mesh_client/deadlines.py",
        "return seconds if own is None else min(own, seconds)",
        "return own",
        (_CALLS + "test_call_has_the_contracts_deadline_or_less_of_a_block_around_it",),
    ),
    Plant(
        "nobody from outside gets a certificate in a name of the mesh",
        "deploy/local/parts/certificates.py",
        "if name in (*IDENTITIES, PUBLIC):",
        "if name == PUBLIC:",
        ("tests/deploy/test_certificates.py",),
    ),
    Plant(
        "a caller's address is what the trusted proxies saw",
        "gateway/edge/listeners.py",
        "xff_num_trusted_hops=trusted_proxies,",
        "xff_num_trusted_hops=0,",
        ("tests/gateway/test_edge_proxies.py::test_limits_count_by_that_address",),
    ),
    Plant(
        "a path's limits are one table, wherever its route stands",
        "gateway/edge/route_tree.py",
        'return prefix == beginning if "path" in match else prefix.startswith(beginning)',
        "return prefix.startswith(beginning)",
        ("tests/gateway/test_route_tree.py::test_a_route_of_one_path_stands_once",),
    ),
    Plant(
        "an origin that only begins like a known one reads nothing",
        "gateway/edge/http_filters.py",
        '[{"exact": origin} for origin in origins]',
        '[{"prefix": origin} for origin in origins]',
        ("tests/gateway/test_edge_browser.py::test_a_known_origin_may_read_answers_and_refusals",),
    ),
    Plant(
        "a token in a mail is good once",
        "services/user/mail/store.py",
        "SELECT m.use_time IS NULL AND m.expire_time > $2",
        "SELECT m.expire_time > $2",
        (_RECOVERY + "test_a_reset_is_good_once_and_for_half_an_hour",),
    ),
    Plant(
        "a token is judged again once its person is held",
        "services/user/recovery/servicer.py",
        "if not is_good or self._vault.opened(user).canonical_email != grant.email:",
        "if self._vault.opened(user).canonical_email != grant.email:",
        (_RECOVERY + "test_of_resets_at_the_same_moment_one_wins",),
    ),
    Plant(
        "mails to a mailbox are counted over deleted accounts and tags",
        "services/user/mail/domain.py",
        "if key and counts.get(key, 0) + counted.count(key) >= MOST_AT_ONCE:",
        "if key and counted.count(key) >= MOST_AT_ONCE:",
        (_RECOVERY + "test_who_registers_again_and_again_with_anothers_address_fills_no_mailbox",),
    ),
    Plant(
        "a mail server that hides STARTTLS gets no mail",
        "services/user/mail/smtp.py",
        "start_tls=place.tls is Tls.UPGRADED,",
        "start_tls=None if place.tls is Tls.UPGRADED else False,",
        ("tests/user/test_smtp.py::test_a_server_without_starttls_gets_neither_mail_nor_password",),
    ),
    Plant(
        "nobody is sent to a redirect URI that differs in a letter",
        "services/user/oauth/domain.py",
        "if request.redirect_uri not in client.redirect_uris:",
        "if not request.redirect_uri.startswith(client.redirect_uris):",
        (_OAUTH_ATTACKS + "test_4_1_nobody_is_sent_to_a_redirect_uri_that_differs_in_a_letter",),
    ),
    Plant(
        "a code is exchanged with its verifier alone",
        "services/user/oauth/domain.py",
        "and hmac.compare_digest(_challenge_of(verifier), authorization.code_challenge)",
        "and _challenge_of(verifier)",
        (_OAUTH_ATTACKS + "test_4_5_a_code_that_is_injected_into_another_flow_fails",),
    ),
    Plant(
        "no flow of OAuth begins with a challenge that is plain",
        "services/user/oauth/domain.py",
        'if request.code_challenge_method != "S256" or not _CHALLENGE',
        "if not _CHALLENGE",
        (_OAUTH_ATTACKS + "test_4_8_no_flow_begins_without_a_challenge",),
    ),
    Plant(
        "a code lives for a minute",
        "services/user/oauth/domain.py",
        "and authorization.expire_time > now",
        "and authorization.expire_time",
        (_OAUTH + "test_a_code_lives_for_a_minute",),
    ),
    Plant(
        "the second use of a code ends what the first gave",
        "services/user/oauth/granting.py",
        "await session_store.end_session(conn, authorization.session_id, EndReason.TOKEN_REUSED, now=now)",
        "pass",
        (_OAUTH + "test_one_exchange_of_many_at_once_begins_a_session_and_none_stays",),
    ),
    Plant(
        "a code is for the password that was given",
        "services/user/oauth/granting.py",
        "or mark_password(password_hash) != authorization.password_mark:",
        "or not mark_password(password_hash):",
        (_WAITING_CODES + "test_a_code_is_void_once_the_account_has_another_password",),
    ),
    Plant(
        "a client gets no scope that its person has not",
        "services/user/oauth/granting.py",
        "return sorted(own.intersection(asked, client.scopes))",
        "return sorted({*asked}.intersection(client.scopes))",
        (_OAUTH + "test_a_token_carries_what_client_request_and_person_have_in_common",),
    ),
    Plant(
        "a client's refresh token is for no one else",
        "services/user/sessions/refreshing.py",
        "if session is None or session.client_id != client_id:",
        "if session is None:",
        (_OAUTH_ATTACKS + "test_4_10_a_client_gets_no_more_than_was_allowed",),
    ),
    Plant(
        "a form of another site does nothing",
        "gateway/app/forms.py",
        "if not value or not any(hmac.compare_digest(each, shown) for each in made):",
        "if not any(made):",
        (_OAUTH_ATTACKS + "test_4_7_a_form_of_another_site_logs_nobody_in",),
    ),
    Plant(
        "the app answers the edge alone",
        "gateway/app/server.py",
        'return [name for kind, name in peer if kind == "URI"] in _PEERS',
        "return bool(peer)",
        (_OAUTH_ATTACKS + "test_the_app_answers_the_edge_alone",),
    ),
    Plant(
        "a key is published before it signs",
        "services/user/sessions/keys.py",
        "begun = [each for each in keys if each.signs_from <= now]",
        "begun = list(keys)",
        ("tests/user/test_tokens.py", "tests/end_to_end/test_key_rotation.py"),
    ),
    Plant(
        "no event holds what is personal",
        "gateway/contract/personal.py",
        "if inner is not None and inner.full_name not in seen:",
        "if inner is None and inner.full_name not in seen:",
        (_REFUSALS + "test_no_event_holds_what_is_personal_not_even_in_a_message_within_it",),
    ),
    Plant(
        "what is encrypted opens in its own place alone",
        "services/user/privacy/vault.py",
        'return f"{column}\\0".encode() + user_id.bytes',
        'return b"users"',
        ("tests/user/test_vault.py::test_nothing_opens_in_another_place_than_its_own",),
    ),
    Plant(
        "an address is masked for whoever may not read it",
        "services/user/accounts/messages.py",
        "if not caller().may_read_personal(user.user_id):",
        "if not caller().acts_for_any and not caller().may_read_personal(user.user_id):",
        ("tests/user/test_users.py::test_addresses_of_others_are_masked_for_whoever_may_not_read_them",),
    ),
    Plant(
        "an erased person's data key is gone",
        "services/user/privacy/erasure_store.py",
        "DELETE FROM data_keys WHERE user_id = $1 RETURNING wrapped_key",
        "SELECT wrapped_key FROM data_keys WHERE user_id = $1",
        ("tests/user/test_restored.py",),
    ),
    Plant(
        "an erased account has no password hash",
        "services/user/privacy/erasure_store.py",
        "password_hash = NULL, update_time = $2",
        "update_time = $2",
        (_ERASING + "test_a_closed_account_is_erased_after_its_time_and_not_before",),
    ),
    Plant(
        "an account that is closed has no session left",
        "services/user/accounts/closing.py",
        "await session_store.end_sessions(conn, user.user_id, reason, keep=None, now=now)",
        "_ = reason",
        (_ERASING + "test_whoever_closes_an_account_closes_all_that_stands_on_it",),
    ),
    Plant(
        "whoever exports what is kept of somebody else stands in the audit log",
        "services/user/privacy/servicer.py",
        "await record(conn, Happening(kind=kind, user_id=user_id, occur_time=self._clock()))",
        "pass",
        (_ERASING + "test_a_person_gets_all_that_is_kept_of_them_and_others_get_nothing",),
    ),
    Plant(
        "whoever exports what is kept of somebody else is not told of their second factor",
        "services/user/privacy/servicer.py",
        'data.ClearField("second_factor")',
        "pass",
        (_ERASING + "test_a_person_gets_all_that_is_kept_of_them_and_others_get_nothing",),
    ),
    Plant(
        "nor what a client checks",
        "services/user/privacy/servicer.py",
        'authorization.ClearField("nonce")',
        "pass",
        (_ERASING + "test_a_person_gets_told_whom_they_have_let_in_and_for_what",),
    ),
    Plant(
        "wrong second factors stand in the audit log",
        "services/user/second_factor/check.py",
        "self._failed.note_second_factor(user_id)",
        "pass",
        (_AUDIT + "test_wrong_second_factors_behind_the_right_password_are_counted_together",),
    ),
    Plant(
        "an address is not compared for whoever may not read it",
        "services/user/accounts/servicer.py",
        "reads_email=caller().may_read_personal(user_id),",
        "reads_email=True,",
        (
            "tests/user/test_users.py::test_who_may_change_an_account_but_not_read_its_address_cannot_guess_it",
        ),
    ),
    Plant(
        "what a client does for a person names the client",
        "services/user/audit/recording.py",
        "caller.session_id, caller.client_id, caller.service",
        "caller.session_id, None, caller.service",
        (_AUDIT + "test_what_a_client_does_names_it",),
    ),
    Plant(
        "a person's changes fill the audit log once a minute",
        "services/user/audit/recording.py",
        "new = [each for each in happenings if not await _is_repeated(conn, each, actor)]",
        "new = happenings",
        (_AUDIT + "test_what_a_person_changes_again_and_again_is_told_once_a_minute",),
    ),
    Plant(
        "a closed account is erased after its time and not before",
        "services/user/privacy/erasing.py",
        "due = await erasure_store.list_due(conn, now - self._after, _BATCH)",
        "due = await erasure_store.list_due(conn, now, _BATCH)",
        (_ERASING + "test_a_closed_account_is_erased_after_its_time_and_not_before",),
    ),
    Plant(
        "who waits for a rotation reads an account whole",
        "services/user/accounts/store.py",
        "return await get_user(conn, user_id) if row is not None and is_torn(row) else _user(row)",
        "return _user(row)",
        (_ROTATION + "test_who_waits_for_a_rotation_reads_an_account_whole",),
    ),
    Plant(
        "an old index key finds people until the new one does",
        "services/user/privacy/store.py",
        "WHERE o.key_version < $1",
        "WHERE o.key_version <= $1",
        (_ROTATION + "test_an_old_index_key_finds_people_until_it_has_left_the_file",),
    ),
    Plant(
        "an account that is not encrypted yet keeps its address",
        "services/user/accounts/store.py",
        "if await is_plain_email_taken(conn, user.canonical_email):",
        "if False:",
        ("tests/user/test_sealing.py::test_half_way_every_account_is_read_changed_found_and_unique",),
    ),
    Plant(
        "a registration in plain text ends before the encryption begins",
        "services/user/privacy/store.py",
        "SELECT state FROM sealing FOR SHARE",
        "SELECT state FROM sealing",
        (_SEALING + "test_a_registration_that_was_told_to_be_plain_ends_before_the_encryption_begins",),
    ),
    Plant(
        "whom nobody tells what has ended accepts no token",
        "services/rpc/endings.py",
        "        self.are_known = False\n",
        "        self.are_known = True\n",
        ("tests/rpc/test_endings.py::test_whom_nobody_tells_what_has_ended_accepts_no_token",),
    ),
    Plant(
        "a process that is silent is left for another connection",
        "services/rpc/endings_feed.py",
        "self._source.reconnect()",
        "pass",
        ("tests/rpc/test_endings_feed.py::test_a_feed_that_falls_silent_is_read_anew",),
    ),
    Plant(
        "what ends while later pages are read is not missed",
        "services/rpc/endings_feed.py",
        "position = page.position if position is None else position",
        "position = page.position",
        ("tests/rpc/test_endings_feed.py",),
    ),
    Plant(
        "a code of a second factor is accepted once",
        "services/user/second_factor/store.py",
        "WHERE user_id = $1 AND last_step < $2",
        "WHERE user_id = $1 AND last_step <= $2",
        (_SECOND_FACTOR + "test_a_code_is_accepted_once_also_of_many_at_once",),
    ),
    Plant(
        "a recovery code is accepted once",
        "services/user/second_factor/store.py",
        "AND code_hash = $2 AND use_time IS NULL",
        "AND code_hash = $2",
        (_SECOND_FACTOR + "test_each_recovery_code_is_good_once_however_it_is_typed",),
    ),
    Plant(
        "an old log-in is asked for again",
        "services/rpc/identity.py",
        "self.login_age_seconds > self.step_up_seconds:",
        "self.login_age_seconds > 2 * self.step_up_seconds:",
        ("tests/user/test_step_up.py",),
    ),
    Plant(
        "a refresh is no log-in",
        "services/user/sessions/servicer.py",
        "auth_time=session.authenticated_at,",
        "auth_time=self._clock(),",
        ("tests/user/test_step_up.py::test_a_refresh_is_no_log_in",),
    ),
    Plant(
        "strangers have few tries at one account, from however many addresses",
        "services/user/sessions/throttle.py",
        "_OF_ACCOUNT = _Rule(free=50,",
        "_OF_ACCOUNT = _Rule(free=50_000,",
        ("tests/user/test_throttle.py::test_ten_thousand_strangers_shut_no_owner_out",),
    ),
    Plant(
        "a retry of a change of the password that meets its first attempt is answered as that",
        "services/user/sessions/password_change.py",
        "            if await self._is_answered(key):\n                return None\n",
        "",
        (
            _PASSWORD_CHANGE
            + "test_a_retry_that_looked_before_its_first_attempt_was_done_is_answered_as_that",
        ),
    ),
    Plant(
        "the hash of an event of the audit log covers the one before it",
        "services/audit_chain.py",
        "digest = hashlib.sha256(previous)",
        "digest = hashlib.sha256()",
        (_AUDIT + "test_two_events_that_differ_have_two_hashes",),
    ),
    Plant(
        "one process chains the audit log at a time",
        "services/user/audit/chaining.py",
        "            if not await store.take_chain(conn):",
        "            if not await conn.fetchval('SELECT TRUE'):",
        (_AUDIT + "test_one_process_chains_at_a_time",),
    ),
    Plant(
        "nobody but administrators learns who of the staff it was",
        "services/user/audit/messages.py",
        "if chained.event.actor_user_id != reader:",
        "if False:",
        (_AUDIT + "test_what_staff_does_to_an_account_names_them_to_administrators_alone",),
    ),
    Plant(
        "what an administrator reads of somebody is told",
        "services/user/accounts/servicer.py",
        "if user_id != caller().subject:",
        "if False:",
        (_AUDIT + "test_what_staff_does_to_an_account_names_them_to_administrators_alone",),
    ),
    Plant(
        "callers without a token have few calls",
        "gateway/edge/envoy.py",
        "if place.anonymous_calls is not None:",
        "if False:",
        (_LIMITS + "test_who_shows_no_token_has_few_calls_and_who_shows_one_has_their_own",),
    ),
    Plant(
        "who has a second factor shows it to clients too",
        "services/user/oauth/asking.py",
        "            conn, user.user_id, totp_code",
        "            conn, type(user.user_id)(int=0), totp_code",
        (_OAUTH + "test_who_has_a_second_factor_shows_it_to_clients_too",),
    ),
    Plant(
        "the app hands on whose address a log-in comes from",
        "services/rpc/sources.py",
        "_TELL_ADDRESSES = frozenset({EDGE, GATEWAY})",
        "_TELL_ADDRESSES = frozenset({EDGE})",
        (_OAUTH + "test_strangers_at_the_page_do_not_shut_its_owner_out",),
    ),
    Plant(
        "the edge refuses what it must also where an answer is kept",
        "gateway/edge/kept.lua",
        'headers:get("content-encoding") or ',
        "",
        ("tests/gateway/test_edge_kept.py::test_an_encoding_is_refused_also_where_an_answer_is_kept",),
    ),
    Plant(
        "no index takes the place of another one's",
        "services/storage/schema.py",
        "elif migration.sql.startswith(_CONCURRENTLY) and name in builders:",
        "elif False:",
        ("tests/storage/test_concurrent_indexes.py::test_no_index_takes_the_name_of_anothers",),
    ),
    Plant(
        "no client does what people do themselves alone",
        "services/rpc/interceptors.py",
        "if policy.own_session and claims.client_id is not None:",
        "if False:",
        (_CLIENT_SESSIONS + "test_no_client_takes_an_account",),
    ),
    Plant(
        "no client's token is a recent log-in",
        "services/rpc/identity.py",
        "if self.step_up_seconds is not None and self.client_id is not None:",
        "if False:",
        (_CLIENT_SESSIONS + "test_no_client_takes_an_account",),
    ),
    Plant(
        "a right password alone forgets no other count",
        "services/user/sessions/throttle.py",
        "if redis.call('HINCRBY', key, 'count', -1) <= 0 then",
        "if true then",
        (_SECOND_FACTOR + "test_a_repeated_request_takes_back_no_count_but_its_own",),
    ),
    Plant(
        "wrong codes are counted for the account",
        "services/user/sessions/authentication.py",
        "if any(codes):",
        "if False:",
        (_SECOND_FACTOR + "test_neither_marks_nor_a_new_password_give_more_guesses_of_codes",),
    ),
    Plant(
        "the end of all sessions ends codes that wait",
        "services/user/oauth/store.py",
        "WHERE user_id = $1 AND (session_id IS NULL OR $2)",
        "WHERE user_id = $1 AND ($2 AND session_id IS NOT NULL)",
        (_WAITING_CODES + "test_what_ends_sessions_ends_codes_and_decisions_that_wait",),
    ),
    Plant(
        "a code without the second factor is void once there is one",
        "services/user/oauth/granting.py",
        "if totp is not None and totp.confirm_time is not None and not authorization.second_factor:",
        "if False:",
        (_WAITING_CODES + "test_a_code_without_the_second_factor_is_void_once_there_is_one",),
    ),
    Plant(
        "nobody keeps a stranger from their address by a second factor",
        "services/user/second_factor/domain.py",
        "if user.email_verify_time is None:",
        "if False:",
        (_SECOND_FACTOR + "test_whose_address_is_not_confirmed_has_no_second_factor",),
    ),
    Plant(
        "a decision is taken in the browser that was asked",
        "gateway/app/forms.py",
        'said = f"{value}\\0{decides}".encode()',
        'said = f"{value}\\0".encode()',
        (_OAUTH_ATTACKS + "test_4_7_nobody_allows_by_a_form_of_another_site",),
    ),
)
