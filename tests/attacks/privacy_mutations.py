"""A call of every method of PrivacyService that changes something, on a person who was made for it alone."""

from commerce.user.v1 import privacy_pb2, user_pb2

from tests.attacks.oauth_mutations import ANYONE, OPERATOR
from tests.attacks.parts import Attempt, Parts
from tests.support.world import PRIVACY, USERS
from tests.user.conftest import PASSWORD, some_email


async def replay_erasures(parts: Parts) -> Attempt:
    asked = user_pb2.CreateUserRequest(user=user_pb2.User(email=some_email()), password=PASSWORD)
    user = await parts.call(USERS + "CreateUser", Attempt(asked, ANYONE))
    erasure = privacy_pb2.Erasure(user_id=user.user_id, erase_time=user.create_time)
    # It says how many it has erased: the second time none.
    return Attempt(privacy_pb2.ReplayErasuresRequest(erasures=[erasure]), OPERATOR, answers_alike=False)


CASES = {PRIVACY + "ReplayErasures": replay_erasures}
