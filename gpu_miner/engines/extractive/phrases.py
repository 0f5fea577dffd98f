"""The engine's own words, in every language it speaks: it says that it quotes, or that it found nothing."""

from dataclasses import dataclass

from gpu_miner.engines.extractive.wordlists import word_list


@dataclass(frozen=True)
class Phrases:
    """One language's phrases; `{quote}` already stands in the language's quotation marks."""

    quote: str
    quote_foreign: str
    unsure: str
    nothing: str
    human: str
    greeting: str
    thanks: str
    marks: tuple[str, str]


PHRASES = {
    "en": Phrases(
        quote="From the information I have: {quote}",
        quote_foreign="From the information I have, quoted in its original language: {quote}",
        unsure="I am not sure that this answers your question, but the information I have says: {quote}",
        nothing="I could not find an answer to that in the information I have. Shall I ask a member of our team?",
        human="Of course. Shall I ask a member of our team to take over?",
        greeting="Hello! How can I help you?",
        thanks="You're welcome! Is there anything else I can help you with?",
        marks=("“", "”"),
    ),
    "fr": Phrases(
        quote="D’après les informations dont je dispose : {quote}",
        quote_foreign="D’après les informations dont je dispose, citées dans leur langue d’origine : {quote}",
        unsure="Je ne suis pas certain que cela réponde à votre question, mais voici ce que j’ai trouvé : {quote}",
        nothing="Je n’ai pas trouvé de réponse à cela dans les informations dont je dispose. "
        "Voulez-vous que je demande à un membre de notre équipe ?",
        human="Bien sûr. Voulez-vous qu’un membre de notre équipe prenne le relais ?",
        greeting="Bonjour ! Comment puis-je vous aider ?",
        thanks="Avec plaisir ! Puis-je vous aider pour autre chose ?",
        marks=("«\u00a0", "\u00a0»"),
    ),
    "de": Phrases(
        quote="Aus den Informationen, die mir vorliegen: {quote}",
        quote_foreign="Aus den Informationen, die mir vorliegen, in der Originalsprache zitiert: {quote}",
        unsure="Ich bin nicht sicher, ob das Ihre Frage beantwortet, aber mir liegt Folgendes vor: {quote}",
        nothing="Dazu habe ich in den Informationen, die mir vorliegen, nichts gefunden. "
        "Soll ich jemanden aus unserem Team fragen?",
        human="Gerne. Soll jemand aus unserem Team übernehmen?",
        greeting="Hallo! Wie kann ich Ihnen helfen?",
        thanks="Gern geschehen! Kann ich Ihnen sonst noch helfen?",
        marks=("„", "“"),
    ),
    "es": Phrases(
        quote="Según la información que tengo: {quote}",
        quote_foreign="Según la información que tengo, citada en su idioma original: {quote}",
        unsure="No estoy seguro de que esto responda a su pregunta, pero la información que tengo dice: {quote}",
        nothing="No he encontrado una respuesta a eso en la información que tengo. "
        "¿Quiere que pregunte a alguien de nuestro equipo?",
        human="Por supuesto. ¿Quiere que le atienda alguien de nuestro equipo?",
        greeting="¡Hola! ¿En qué puedo ayudarle?",
        thanks="¡De nada! ¿Puedo ayudarle en algo más?",
        marks=("«", "»"),
    ),
    "it": Phrases(
        quote="Dalle informazioni che ho: {quote}",
        quote_foreign="Dalle informazioni che ho, citate nella lingua originale: {quote}",
        unsure="Non sono sicuro che questo risponda alla sua domanda, ma le informazioni che ho dicono: {quote}",
        nothing="Non ho trovato una risposta nelle informazioni che ho. Vuole che chieda a qualcuno del nostro team?",
        human="Certamente. Vuole che se ne occupi qualcuno del nostro team?",
        greeting="Salve! Come posso aiutarla?",
        thanks="Prego! Posso aiutarla in qualcos’altro?",
        marks=("«", "»"),
    ),
    "pt": Phrases(
        quote="De acordo com as informações que tenho: {quote}",
        quote_foreign="De acordo com as informações que tenho, citadas no idioma original: {quote}",
        unsure="Não tenho a certeza de que isto responda à sua pergunta, mas as informações que tenho dizem: {quote}",
        nothing="Não encontrei uma resposta para isso nas informações que tenho. "
        "Quer que eu pergunte a alguém da nossa equipa?",
        human="Claro. Quer que alguém da nossa equipa continue a conversa?",
        greeting="Olá! Como posso ajudar?",
        thanks="De nada! Posso ajudar em mais alguma coisa?",
        marks=("“", "”"),
    ),
    "nl": Phrases(
        quote="Uit de informatie die ik heb: {quote}",
        quote_foreign="Uit de informatie die ik heb, geciteerd in de oorspronkelijke taal: {quote}",
        unsure="Ik weet niet zeker of dit uw vraag beantwoordt, maar de informatie die ik heb zegt: {quote}",
        nothing="Ik heb daar geen antwoord op gevonden in de informatie die ik heb. "
        "Zal ik het aan iemand van ons team vragen?",
        human="Natuurlijk. Zal ik iemand van ons team vragen om het over te nemen?",
        greeting="Hallo! Waarmee kan ik u helpen?",
        thanks="Graag gedaan! Kan ik u nog ergens anders mee helpen?",
        marks=("“", "”"),
    ),
    "ru": Phrases(
        quote="По имеющейся у меня информации: {quote}",
        quote_foreign="По имеющейся у меня информации, цитирую на языке оригинала: {quote}",
        unsure="Не уверен, что это отвечает на ваш вопрос, но вот что есть в моей информации: {quote}",
        nothing="В имеющейся у меня информации я не нашёл ответа на этот вопрос. "
        "Спросить кого-нибудь из нашей команды?",
        human="Конечно. Позвать кого-нибудь из нашей команды?",
        greeting="Здравствуйте! Чем могу помочь?",
        thanks="Пожалуйста! Могу ли я ещё чем-нибудь помочь?",
        marks=("«", "»"),
    ),
    "zh": Phrases(
        quote="根据我掌握的信息：{quote}",
        quote_foreign="根据我掌握的信息（原文引用）：{quote}",
        unsure="我不确定这是否回答了您的问题，但我掌握的信息中写道：{quote}",
        nothing="在我掌握的信息中没有找到答案。需要我请我们团队的同事来帮您吗？",
        human="好的。需要我请我们团队的同事来接手吗？",
        greeting="您好！有什么可以帮您？",
        thanks="不客气！还有什么可以帮您的吗？",
        marks=("“", "”"),
    ),
    "ja": Phrases(
        quote="手元の情報からの引用です：{quote}",
        quote_foreign="手元の情報から原文のまま引用します：{quote}",
        unsure="ご質問の答えになっているか確かではありませんが、手元の情報には次のようにあります：{quote}",
        nothing="手元の情報には答えが見つかりませんでした。担当者におつなぎしましょうか？",
        human="かしこまりました。担当者におつなぎしましょうか？",
        greeting="こんにちは！どのようなご用件でしょうか？",
        thanks="どういたしまして！ほかにお手伝いできることはありますか？",
        marks=("「", "」"),
    ),
}

GREETINGS = word_list("greeting")
THANKS = word_list("thanks")
THANKS_HEART = word_list("thanks_heart")
