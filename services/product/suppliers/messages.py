"""Suppliers' records and matches → the messages of the contract."""

import math

from commerce.product.v1 import match_pb2

from services.product.suppliers.records import Match, Record
from services.rpc.fields import timestamp


def record_message(record: Record) -> match_pb2.SupplierRecord:
    return match_pb2.SupplierRecord(
        record_id=str(record.record_id),
        supplier=record.supplier,
        supplier_id=record.supplier_id,
        own_product_id=str(record.own_product_id),
        product_id=str(record.product_id),
        create_time=timestamp(record.create_time),
        update_time=timestamp(record.update_time),
    )


def match_message(match: Match) -> match_pb2.Match:
    return match_pb2.Match(
        match_id=str(match.match_id),
        state=f"MATCH_STATE_{match.state.value}",
        record=record_message(match.record),
        other_record=record_message(match.other),
        rule=f"MATCH_RULE_{match.rule}",
        probability=match.probability,
        evidence=_evidence_message(match),
        create_time=timestamp(match.create_time),
        update_time=timestamp(match.update_time),
    )


def _evidence_message(match: Match) -> match_pb2.MatchEvidence:
    told = match.evidence
    name, other_name = told["names"]
    covered, other_covered = told["covered"]
    return match_pb2.MatchEvidence(
        name=name,
        other_name=other_name,
        name_covered=covered,
        other_name_covered=other_covered,
        code=told["code"],
        shared_words=told["shared"],
        numbers_differ=told["numbers_differ"],
        price_ratio=0 if told["price_ratio"] is None else math.exp(told["price_ratio"]),
    )
