"""What is said where nothing was found: the business's own words, else ours in the visitor's language."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

OURS: Final[Mapping[str, str]] = {
    "en": "I do not have an answer to that. Shall I ask somebody from the team?",
    "de": "Darauf habe ich leider keine Antwort. Soll ich jemanden aus dem Team fragen?",
    "fr": "Je n’ai pas de réponse à cette question. Voulez-vous que je demande à un membre de l’équipe ?",
    "es": "No tengo respuesta a eso. ¿Quiere que pregunte a alguien del equipo?",
    "it": "Non ho una risposta a questa domanda. Vuole che chieda a qualcuno del team?",
    "pt": "Não tenho resposta para isso. Quer que eu pergunte a alguém da equipa?",
    "nl": "Daar heb ik geen antwoord op. Zal ik iemand van het team vragen?",
    "pl": "Nie znam odpowiedzi na to pytanie. Czy mam zapytać kogoś z zespołu?",
    "cs": "Na to nemám odpověď. Mám se zeptat někoho z týmu?",
    "sv": "Det har jag inget svar på. Ska jag fråga någon i teamet?",
    "da": "Det har jeg ikke noget svar på. Skal jeg spørge en fra teamet?",
    "tr": "Buna bir yanıtım yok. Ekipten birine sormamı ister misiniz?",
    "ru": "У меня нет ответа на этот вопрос. Спросить кого-нибудь из команды?",
    "uk": "У мене немає відповіді на це запитання. Запитати когось із команди?",
    "ar": "ليست لدي إجابة عن ذلك. هل أسأل أحدًا من الفريق؟",
    "ja": "その質問への答えが見つかりませんでした。チームの者に確認しましょうか？",
    "zh": "我没有找到这个问题的答案。需要我请团队成员来帮您吗？",
    "ko": "그 질문에 대한 답을 찾지 못했습니다. 담당자에게 물어볼까요?",
}


def refusal(language: str, *, text: str = "", texts: Mapping[str, str] | None = None) -> str:
    """`texts` are the business's by language, `text` its words for every other language."""
    code = language[:2]
    return (texts or {}).get(code) or text or OURS.get(code) or OURS["en"]
