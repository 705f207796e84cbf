"""The words that instructions to a language model are made of, as concepts across languages.

English, German, French, Spanish, Italian, Portuguese and Dutch, without accents, as scored() gives
them; `*` stands for any ending. A model trained on English orders of concepts ("IGNORE before
RULES") so knows them in the other languages too.
"""

from functools import lru_cache

_WORDS = {
    "ignore": """
        ignore omit skip drop abandon ignores ignored ignoring disregard* forget forgets
        forgetting override* bypass* overrule* overwrite* supersed* neglect discard dismiss
        unlearn circumvent* void nullif* ignorier* vergiss vergesst vergessen missacht* verwirf
        umgehe uberschreib* ignorez ignorer oublie oubliez oublier outrepass* contourn* ignora
        ignorad ignoren ignorar olvida olvide olvidad olvidate omite anula* ignorate ignori
        dimentica* scorda* scavalca esqueca esquece esquecam desconsider* desconsidera negeer
        negeert negeren vergeet passeer
    """,
    "prior": """
        previous previously prior preceding above earlier before foregoing initial original
        existing former preceeding so-far vorherig* vorig* bisherig* obig* zuvor fruher*
        ursprunglich* vorangegangen* vorstehend* precedent* anterieur* dessus initial* avant
        anterior* previ* original* precedent* iniziali sopra prima anteriormente acima originais
        vorige eerder* voorgaande bovenstaande oorspronkelijk* eerste
    """,
    "rules": """
        instruction* rule rules prompt prompts guideline* directive* order orders constraint*
        restriction* guardrail* safeguard* programming safety filter filters policy policies
        commandments training regulation* anweisung* regel regeln vorgabe* richtlinie* befehl*
        prompt* beschrankung* consigne* regle regles directive* restriction* limites
        instruccion* regla reglas directri* restriccion* ordenes istruzion* regole regola
        direttiv* restrizion* ordini instruco* regras regra diretri* restrico* ordens
        instructie* regels richtlijn* beperking* opdrachten voorschrift*
    """,
    "answer": """
        answer answers response responses reply replies output outputs summary summaries
        completion elucidation explanation conclusion recap write-up writeup overview digest
        synopsis briefing verdict antwort antworten ausgabe zusammenfassung ruckmeldung reponse
        reponses resume resumes sortie respuesta respuestas resumen salida contestacion risposta
        risposte riassunto sommario output resposta respostas resumo saida sintesi synthese
        bilancio resoconto informe relatorio verslag bericht antwoord antwoorden samenvatting
        uitvoer reactie translation ubersetzung traduction
    """,
    "message": """
        message messages text texts content email e-mail mail letter note document nachricht
        text texte dokument courriel texto mensaje mensajes correo documento messaggio testo
        mensagem bericht tekst paragraph conversation chat statement
    """,
    "your": """
        your yours deine deiner deinem deinen dein ihre ihrer ihrem ihren ihr eure votre vos ton
        ta tes tu tus su sus vuestra vuestro tua tuo tue tuoi sua suo vostra seu seus suas jouw
        je uw jullie
    """,
    "you": """
        you yourself du dich dir sie vous toi te tu usted ustedes voi ti lei voce jij u
    """,
    "insert": """
        add adding include including insert inserting append integrate integrating incorporate
        incorporating augment embed embedding mention mentioning modify prepend weave inject
        attach enhance enrich sprinkle slip put place feature promote advertise recommend
        suggest praise endorse smuggle sneak nudge steer highlight emphasize emphasise stress
        hint tease plug prefix suffix introduce fuge erganze erwahne integriere empfehle
        empfiehl einbauen einfugen hinzufugen baue ajoute ajoutez inclus incluez inclure inserez
        insere mentionne mentionnez integre integrez recommande recommandez anade anadir agrega
        agregue incluye incluya inserta inserte menciona mencione recomienda aggiungi aggiungere
        includi includere inserisci inserire menziona integra raccomanda consiglia adicione
        adiciona inclua inclui insira mencione integre recomende voeg toevoegen vermeld neem
        verwerk noem beveel
    """,
    "transform": """
        replace replacing rearrange scramble encode encoding encrypt convert translate
        translating translation reverse reversed backward backwards misspell substitute
        substitut* capitali* rewrite rephrase paraphrase shuffle swap jumble anagram* remove
        omit delete strip group combine shorten obfuscate cipher caesar morse base64 base32 hex
        hexadecimal binary ascii rot13 leetspeak emoji emojis emoticon* uppercase lowercase
        pirate rhyme rhymes spell alphabet* alphanumeric homophon* render switch format express
        ersetze ubersetze kodiere verschlussele umgekehrt remplace remplacez traduis traduisez
        encode encodez inverse reemplaza traduce traduzca codifica invierte sostituisci traduci
        codifica inverti substitua traduza codifique inverta vervang vertaal codeer keer
    """,
    "unit": """
        letter letters vowel vowels consonant* word words sentence sentences character
        characters space spaces spacing punctuation syllable* symbol symbols digit digits number
        numbers paragraph* typo typos misspelling* buchstabe* vokal* worter wort satz
        leerzeichen lettre lettres voyelle* mot mots phrase phrases letra letras vocal* palabra*
        frase frases lettere lettera parole parola palavra* letter* woord woorden klinker* zin
    """,
    "reveal": """
        reveal reveals revealing print repeat output display tell leak disclose expose dump
        divulge recite hand paste spell show list state quote copy echo verrate verrat zeige
        zeig gib nenne wiederhole offenbare drucke revele revelez affiche affichez repete
        repetez montre montrez divulgue donne revela revele muestra muestre imprime repite
        repita dime divulga rivela mostra stampa ripeti elenca dimmi mostre repita imprima diga
        exiba onthul toon laat herhaal geef
    """,
    "secret": """
        password passwords passcode secret secrets credentials credential apikey confidential
        private hidden sensitive token tokens keys passwort passworter geheimnis geheim*
        zugangsdaten vertraulich* mot-de-passe secret* confidentiel* identifiants contrasena*
        secreto* confidencial* credenciales segreto segreti riservat* credenziali senha senhas
        segredo* credenciais wachtwoord* geheim* vertrouwelijk* inloggegevens
    """,
    "ai": """
        ai assistant assistants chatbot chatbots bot bots llm llms gpt gpt-4 chatgpt claude
        gemini copilot llama openai anthropic agent agents summarizer summariser model models ki
        sprachmodell assistent assistenten assistenz ia assistente assistenti modele modelo
        modello taalmodel machine algorithm classifier
    """,
    "role": """
        pretend pretending roleplay role-play simulate behave imagine impersonate persona
        character act acting acts dan jailbroken jailbreak unrestricted unfiltered uncensored
        immersed immerse mode tu-so rolle spiele verhalte rolle simuliere joue role comporte
        comportez fais actua actue finge simula simule comportati recita fingi ruolo atue finja
        aja papel doe gedraag speel rol
    """,
    "now": """
        now henceforth onwards onward instead hereafter anymore jetzt ab nun stattdessen
        desormais maintenant dorenavant ahora adelante partir ora adesso invece agora diante nu
        voortaan vanaf plaats
    """,
    "user": """
        user users reader readers recipient recipients customer customers human humans people
        everyone leser nutzer benutzer kunden lecteur lecteurs utilisateur* client clients
        lector* usuario* cliente clientes lettore lettori utente utenti leitor* utilizador*
        lezer lezers gebruiker* klanten
    """,
    "send": """
        send forward post upload email exfiltrate transmit submit deliver cc bcc wire transfer
        leite sende schicke weiterleiten envoie envoyez transfere transferez transmets envia
        envie reenvia reenvie invia inoltra manda invii encaminhe envie reenvie stuur verstuur
        doorsturen
    """,
    "respond": """
        respond responding answering replying saying begin start say write reply answer speak
        output return conclude finish end antworte antwortet schreibe schreib beginne sage
        beende reponds repondez ecris ecrivez commence commencez dis dites termine terminez
        responde responda escribe escriba comienza comience di diga rispondi rispondere scrivi
        inizia di' responda escreva comece diga antwoord schrijf begin zeg eindig beantwoord
    """,
    "only": """
        only just exactly solely nothing else verbatim exclusively nur ausschliesslich genau
        seulement uniquement exactement rien solo solamente exactamente unicamente nada soltanto
        esattamente niente apenas somente exatamente alleen uitsluitend exact niets precies
    """,
    "always": """
        always every each never must any all everything entire whole immer jede* alle niemals
        nie toujours chaque toutes tous jamais siempre cada todas todos nunca sempre ogni tutte
        tutti mai qualsiasi altijd elke alle nooit eventuele
    """,
    "told": """
        told given gave received provided said been programmed instructed learned taught know
        asked erhalten gegeben bekommen gesagt recues recu donnees donne dites recibido
        recibiste dadas dado ricevute ricevuto date dato recebeu recebidas gekregen ontvangen
        gegeven
    """,
    "system": """
        system developer admin administrator root sudo superuser maintenance debug override
        unlocked systeme sistema systeem entwickler developpeur desarrollador sviluppatore
        desenvolvedor ontwikkelaar administrador amministratore beheerder
    """,
    "tool": """
        tool tools function functions invoke execute run call api shell command commands script
        plugin browser browse navigate fetch curl sql query database werkzeug funktion fuhre
        rufe outil fonction execute executez appelle herramienta funcion ejecuta ejecute llama
        strumento funzione esegui chiama ferramenta funcao execute chame functie voer roep
    """,
    "delete": """
        delete erase wipe drop purge remove destroy losche losch* loschen supprime supprimez
        efface elimina elimine borra borre cancella elimina apague exclua verwijder wis
    """,
    "mark": """
        mark classify label rate score rank approve treat consider set flag report assess
        categorize prioritize escalate markiere bewerte stufe marque marquez classe classez
        approuve marca clasifica aprueba clasifique segna classifica approva valuta marque
        classifique aprove markeer beoordeel classificeer
    """,
    "code": """
        code snippet snippets function codebase implementation algorithm python javascript java
        sql html css php c++ rust regex class compile compiler import subprocess solution
        excerpt block programm quellcode fonction codigo codice programma
    """,
    "explain": """
        explain describe define summarize summarise discuss compare outline elaborate analyze
        analyse identify list provide give name calculate compute solve break help teach
        recommend suggest erklare beschreibe nenne fasse vergleiche berechne lose explique
        expliquez decris decrivez compare calcule resume resumez explica explique describe
        calcula resuelve spiega descrivi calcola riassumi elenca descreva explica calcule leg
        beschrijf verklaar bereken
    """,
    "create": """
        write compose draft create develop generate craft design invent produce build make
        schreibe verfasse dichte entwirf erstelle erfinde ecris redige redigez compose composez
        cree creez invente escribe redacta compon crea inventa scrivi componi crea inventa
        redigi escreva componha crie invente schrijf bedenk maak verzin
    """,
    "question": """
        what who whom whose when where why how which was wer wann wo warum wieso wie welche*
        quel quelle quels quelles qui quand ou pourquoi comment que quien cuando donde por-que
        como cual cuales che cosa chi quando dove perche come quale quali qual quais onde wat
        wie wanneer waar waarom hoe welke
    """,
    "genre": """
        poem haiku limerick sonnet story tale essay song lyrics joke riddle script speech recipe
        screenplay fable novel rap ballad blog tutorial lesson quiz itinerary workout gedicht
        geschichte witz rezept aufsatz lied poeme histoire blague recette chanson poema cuento
        historia chiste receta cancion poesia storia barzelletta ricetta canzone piada conto
        receita verhaal gedicht grap recept liedje
    """,
    "context": """
        context task tasks user's question questions request conversation input data following
        below aufgabe frage anfrage kontext tache question contexte demande tarea pregunta
        contexto compito domanda contesto richiesta tarefa pergunta taak vraag verzoek
    """,
    "link": """
        http https www url link links click visit download install com net xyz image markdown
        klicke cliquez haz clicca clique klik
    """,
    "persist": """
        remember memory memorize memorise persist future sessions session save store permanently
        merke memorise recuerda ricorda lembre onthoud
    """,
    "covert": """
        secretly silently quietly without mentioning hide conceal unnoticed heimlich ohne sans
        discretement sin secretamente senza segretamente sem zonder stiekem stilletjes
    """,
    "please": """
        please kindly bitte por favor per s'il alstublieft graag could would can
    """,
    "we": """
        i we me us our my mine we'll i'm i'd i'll i've we're we've ich wir uns mir mich mein*
        unser* je nous notre nos mon ma mes moi yo nosotros nuestro* nuestra* mi mis noi nostro
        nostra mio mia eu nos nosso* nossa* meu minha ik wij we ons onze mijn
    """,
    "negation": """
        not don't dont do-not cannot can't won't stop cease refuse no nicht kein keine ne pas
        non plus nao niet geen
    """,
    "business": """
        invoice invoices order payment payments refund account delivery shipment shipping
        contract subscription appointment meeting quote offer ticket support customer-service
        warranty price billing charge charged balance renewal licence license newsletter
        unsubscribe attached attachment schedule thursday monday tuesday wednesday friday
        tomorrow regards thanks rechnung* bestellung* lieferung* vertrag* konto termin angebot*
        zahlung* facture* commande* livraison* compte contrat* paiement* devis pedido* factura*
        entrega* cuenta contrato* pago* cita fattura* ordine consegna* contratto* pagamento*
        appuntamento fatura* conta encomenda* pagamento* factuur* bestelling* levering*
        rekening* betaling* offerte* afspraak purchase return parcel package tracking voucher
        discount reservation booking
    """,
}

CONCEPTS = tuple(_WORDS)


def _tables() -> tuple[dict[str, set[int]], dict[str, set[int]]]:
    whole: dict[str, set[int]] = {}
    begun: dict[str, set[int]] = {}
    for number, words in enumerate(_WORDS.values()):
        for word in words.split():
            table, key = (begun, word[:-1]) if word.endswith("*") else (whole, word)
            table.setdefault(key, set()).add(number)
    return whole, begun


_WHOLE, _BEGUN = _tables()
_SHORTEST, _LONGEST = min(map(len, _BEGUN)), max(map(len, _BEGUN))


def _jumbled(word: str) -> str:
    return word[0] + "".join(sorted(word[1:-1])) + word[-1]


# Letters within a word in another order are read all the same, by people and by models.
_JUMBLED = {_jumbled(word): numbers for word, numbers in _WHOLE.items() if len(word) >= 6}


def lexicon() -> dict[str, list[str]]:
    """Its words by concept."""
    return {concept: words.split() for concept, words in _WORDS.items()}


def known(word: str) -> bool:
    """Whether the lexicon has exactly this word."""
    return word in _WHOLE


@lru_cache(maxsize=50_000)
def concepts(word: str) -> tuple[int, ...]:
    """The numbers in CONCEPTS of what a word can mean; mostly none. word: as scored() gives it."""
    found = set(_WHOLE.get(word, ()))
    for end in range(_SHORTEST, min(len(word), _LONGEST) + 1):
        found |= _BEGUN.get(word[:end], set())
    if not found and len(word) >= 6:
        found |= _JUMBLED.get(_jumbled(word), set())
    return tuple(sorted(found))
