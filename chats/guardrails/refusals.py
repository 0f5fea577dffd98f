"""What a visitor is told in place of an answer, in their language."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from chats.choices import GuardKind
from chats.policies import Policy

ABOUT_ITSELF: Final[Mapping[str, str]] = {
    "en": "I can't share or change how I was set up. What can I help you with?",
    "de": "Wie ich eingerichtet bin, kann ich weder mitteilen noch ändern. Womit kann ich Ihnen helfen?",
    "fr": "Je ne peux ni communiquer ni modifier ma configuration. En quoi puis-je vous aider ?",
    "es": "No puedo compartir ni cambiar mi configuración. ¿En qué puedo ayudarle?",
    "it": "Non posso condividere né cambiare la mia configurazione. Come posso aiutarla?",
    "pt": "Não posso partilhar nem alterar a minha configuração. Em que posso ajudar?",
    "nl": "Hoe ik ben ingesteld kan ik niet delen of veranderen. Waarmee kan ik u helpen?",
}
ANOTHER_TOPIC: Final[Mapping[str, str]] = {
    "en": "I'm only here for questions about us and what we offer. Is there something of that kind I can help with?",
    "de": "Ich bin nur für Fragen zu uns und unserem Angebot da. Kann ich Ihnen dabei helfen?",
    "fr": "Je ne réponds qu'aux questions sur nous et notre offre. Puis-je vous aider à ce sujet ?",
    "es": "Solo respondo preguntas sobre nosotros y lo que ofrecemos. ¿Puedo ayudarle con algo así?",
    "it": "Rispondo solo a domande su di noi e sulla nostra offerta. Posso aiutarla in questo?",
    "pt": "Só respondo a perguntas sobre nós e o que oferecemos. Posso ajudar com algo assim?",
    "nl": "Ik ben er alleen voor vragen over ons en ons aanbod. Kan ik u daarmee helpen?",
}
ABUSE: Final[Mapping[str, str]] = {
    "en": "I'd like to help, but please stay polite. What is it about?",
    "de": "Ich helfe gern, aber bitte bleiben Sie höflich. Worum geht es?",
    "fr": "Je veux bien vous aider, mais restez poli, s'il vous plaît. De quoi s'agit-il ?",
    "es": "Con gusto le ayudo, pero le pido respeto. ¿De qué se trata?",
    "it": "L'aiuto volentieri, ma la prego di restare educato. Di che cosa si tratta?",
    "pt": "Ajudo com gosto, mas peço respeito. De que se trata?",
    "nl": "Ik help graag, maar blijf alstublieft beleefd. Waar gaat het om?",
}
TEXTS: Final = {GuardKind.OFF_TOPIC: ANOTHER_TOPIC, GuardKind.ABUSE: ABUSE}


def refusal_for(kind: GuardKind, *, language: str, policy: Policy) -> str:
    """The business's own words where it has any."""
    texts = TEXTS.get(kind, ABOUT_ITSELF)
    return policy.rules.refusal_text or texts.get(language[:2].lower(), texts["en"])
